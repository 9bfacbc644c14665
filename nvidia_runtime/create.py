# SPDX-License-Identifier: Apache-2.0
"""The create command: from what the container asks for to the spec that the runtime is given.

Read `inject` from top to bottom: each line takes the value of the one before it.  Ring: create.
"""

from nvidia_runtime import start
from nvidia_runtime.admission import request
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle, edit, lowlevel
from nvidia_runtime.prepare import decide
from nvidia_runtime.sources import find
from nvidia_runtime.store import files, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.admission.image import Image
    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.admission.request import Request
    from nvidia_runtime.document import Document
    from nvidia_runtime.log import Log
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.start import Launch
    from nvidia_runtime.store.lines import Source
    from nvidia_runtime.store.snapshot import Settings, Snapshot

SECTION = "nvidia-container-runtime"


def run(invocation: "Invocation", launch: "Launch", log: "Log | None") -> None:
    """Inject the container's devices, then become the low-level runtime."""
    if invocation.complaint:
        raise NvidiaRuntimeError(invocation.complaint, hint="--bundle names the bundle's folder")
    config = files.config_path()
    compiled = snapshot.load(config)
    if compiled is None:
        from nvidia_runtime.compile import snapshot as compiler  # heavy: TOML

        start.lap("start")
        compiled = compiler.settings(config)
        start.lap("compile")
    settings = compiled.settings
    log = _open_log(settings, invocation, log)
    if log:
        for warning in compiled.warnings:
            log.write("warning", warning)
    path = files.environment(b"PATH")
    runtimes: list[str] = settings[f"{SECTION}.runtimes"]
    runtime = lowlevel.find(runtimes, path, launch.launcher)
    # With a debug file every call is logged, which the shortcut would not do.
    is_silent = settings[f"{SECTION}.debug"] in ("", "/dev/null")
    start.lap("start")
    is_asking = inject(invocation, launch, runtime, compiled, log)
    start.tell(log)
    if files.environment(b"HOME") and files.is_user():
        from nvidia_runtime.store import home  # not for root

        home.remember()
    # Where all creates ask for something, the launcher need not look for it.
    if is_silent and not launch.knows(runtime, compiled.stamp, "" if is_asking else start.ASKING):
        from nvidia_runtime.admission import words  # now and then
        from nvidia_runtime.store import shortcut

        asking = None if is_asking else words.of_requests(compiled)
        shortcut.remember(launch, config, runtime, asking)
    if start.HOT.is_to_be_made():
        from nvidia_runtime.compile import hot_path  # after an installation

        hot_path.write()
    lowlevel.become(runtime, invocation.words, launch.ignored)


def inject(
    invocation: "Invocation", launch: "Launch", runtime: str, config: "Snapshot", log: "Log | None"
) -> bool:
    """Rewrite config.json by what the container may have; return whether it asks for anything."""
    file = bundle.read(invocation.bundle, invocation.config)
    asked = asked_for(file, invocation.container, config.settings)
    admitted = find.admit(asked, config, launch.program())
    told = _tell(log, admitted)
    sources = find.sources(file, asked, admitted, config)
    _warn(log, admitted.warnings[told:], "sources")
    removed = admitted.mode != "legacy" and edit.remove_hooks(file.spec, start.HOOKS, file.path)
    done: "Document" = {"prepared": [], "removed": removed}
    if sources or removed:
        edits = find.edits(sources, file, runtime)
        planned = decide.plan(edits, file, launch, runtime, config.settings, admitted.mode)
        edit.apply(file.spec, planned.edits, file.path)
        # If it fails, config.json is as it was.
        done["prepared"] = planned.reasons + planned.carry_out()
        if planned.hooks is not None:
            done["hooks"] = planned.hooks
        _warn(log, planned.warnings, "prepare")
        if planned.edits or removed:
            bundle.write(file)
            files.sweep(*bundle.leftovers(file))
    return _record(invocation, file, admitted, sources, done) or removed


def _record(
    invocation: "Invocation",
    file: "Bundle",
    admitted: "Admitted",
    sources: "list[Source]",
    done: "Document",
) -> bool:
    """Write the record of a container that asks for something; return whether it does."""
    if admitted.is_empty():
        return bool(sources)
    start.lap("write")
    from nvidia_runtime.store import record  # a create that asks for nothing leaves none

    record.write(invocation, file.spec, {**admitted.decision(), **done}, sources)
    return True


def asked_for(
    file: "Bundle", container: str, settings: "Settings", said: "Image | None" = None
) -> "Request":
    """Read what the container asks for, less what its image asks for and may not have.

    ``said`` is what the image says where there is no container yet.
    """
    start.lap("read")
    asked = request.read(file.spec, settings, file.path)
    by_image = asked.by_env or asked.by_annotation or asked.imex_by_env or asked.gates
    if settings[snapshot.IMAGE_REQUESTS] == "allow" or not by_image:
        return asked
    from nvidia_runtime.admission import image, image_policy  # only where images are not trusted

    said = said or image.read(file.spec, container)
    return image_policy.limit(asked, settings, said)


def _open_log(settings: "Settings", invocation: "Invocation", log: "Log | None") -> "Log | None":
    debug: str = settings[f"{SECTION}.debug"]
    level: str = settings[f"{SECTION}.log-level"]
    if debug not in ("", "/dev/null"):
        start.preload("log")  # only where somebody asks for one
        from nvidia_runtime.log import Log

        log = log or Log(invocation.log_json)
        log.open(debug)
    if log and not invocation.debug:
        log.set_level(level)
    return log


def _tell(log: "Log | None", admitted: "Admitted") -> int:
    """Log what was decided; return how many of the warnings were told."""
    _warn(log, admitted.refusals + admitted.warnings, "admit")
    if log:
        ids = ",".join(admitted.devices)
        devices = f", devices {ids} by {admitted.source}" if ids else ""
        log.write("info", f"mode {admitted.mode}{devices}")
    return len(admitted.warnings)


def _warn(log: "Log | None", sentences: list[str], step: str) -> None:
    """Log the warnings of a step that has ended."""
    start.lap(step)
    if log:
        for sentence in sentences:
            log.write("warning", sentence)
