# SPDX-License-Identifier: Apache-2.0
"""The create command: from what the container asks for to the spec that the runtime is given.

Read `inject` from top to bottom: each line takes the value of the one before it.  Ring: create.
"""

from nvidia_runtime import policy, request, resolve, snapshot, start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle, edit, lowlevel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.log import Log
    from nvidia_runtime.oci.argv import Invocation
    from nvidia_runtime.runtime import Launch
    from nvidia_runtime.snapshot import Settings, Snapshot

SECTION = "nvidia-container-runtime"
MODES = ("legacy", "csv", "cdi", "jit-cdi")
AUTOMATIC = "runtime.nvidia.com/gpu="
IMAGE_REQUESTS = f"{SECTION}.image-requests"
HOOKS = f"{SECTION}.in-container-hooks"
REQUIREMENTS = f"{SECTION}.requirements"


def run(invocation: "Invocation", launch: "Launch", log: "Log | None") -> None:
    """Give the container its devices, then become the low-level runtime."""
    if invocation.complaint:
        raise NvidiaRuntimeError(invocation.complaint, hint="--bundle names the bundle's folder")
    config = snapshot.config_path()
    known = snapshot.load(config)
    if known is None:
        from nvidia_runtime import compile  # heavy: TOML

        known = compile.settings(config)
    settings = known.settings
    log = _open_log(settings, invocation, log)
    if log:
        for warning in known.warnings:
            log.write("warning", warning)
    path = snapshot.environment(b"PATH")
    runtimes: list[str] = settings[f"{SECTION}.runtimes"]
    runtime = lowlevel.find(runtimes, path, launch.launcher)
    # With a debug file every call is logged, which the shortcut would not do.
    if settings[f"{SECTION}.debug"] in ("", "/dev/null") and not launch.knows(runtime, known.stamp):
        from nvidia_runtime import shortcut  # now and then

        shortcut.remember(launch, config, runtime)
    inject(invocation, launch, runtime, known, log)
    start.tell(log)
    lowlevel.become(runtime, invocation.words, launch.ignored)


def inject(
    invocation: "Invocation", launch: "Launch", runtime: str, known: "Snapshot", log: "Log | None"
) -> None:
    """Rewrite config.json by what the container asks for and may have.

    With nothing to change it stays as it was, byte for byte.
    """
    settings = known.settings
    found = bundle.read(invocation.bundle, invocation.config)
    asked = request.read(found.spec, settings, found.path)
    if settings[IMAGE_REQUESTS] != "allow":
        asked = _limit(asked, found, invocation, settings)
    mode, admitted = _resolve_mode(asked, known, launch.program())
    if admitted.devices and mode != "legacy":  # where the prestart hook does so itself
        admitted.warnings = _compare(asked.environment, mode, settings)
    if log:
        _tell(log, mode, admitted)
    told = len(admitted.warnings)
    sources = _sources(found, asked, admitted, mode, known)
    if log:
        for sentence in admitted.warnings[told:]:
            log.write("warning", sentence)
    removed = mode != "legacy" and edit.remove_hooks(found.spec, start.HOOKS, found.path)
    prepared: list[str] = []
    if sources or removed:
        for source in sources:
            resolve.fill_nodes(source.edits, source.origin)
        edits = [source.edits for source in sources]
        if any("netDevices" in one for one in edits):
            from nvidia_runtime import net_devices  # few containers get network interfaces

            edits.append(net_devices.prepare(found.spec, sources, runtime, found.path))
        work: "Callable[[], list[str]] | None" = None
        by_hooks = mode == "legacy" or settings[HOOKS] == "toolkit"
        if not by_hooks and any("hooks" in one for one in edits):
            start.preload(*start.PREPARE, "on_host")  # other specs do without
            from nvidia_runtime import on_host

            edits, prepared, work = on_host.plan(edits, found, launch, runtime, settings)
        edit.apply(found.spec, edits, found.path)
        if work:
            prepared += work()  # before config.json is replaced: if it fails, that stays as it was
        bundle.write(found)
    if admitted.devices or admitted.refusals or admitted.warnings:
        from nvidia_runtime import record  # a create that asks for nothing leaves none

        record.write(invocation, mode, admitted, sources, prepared)


def _limit(
    asked: request.Request, found: bundle.Bundle, invocation: "Invocation", settings: "Settings"
) -> request.Request:
    """Take out what the image asks for and may not have."""
    if not (asked.by_env or asked.by_annotation or asked.imex_by_env or asked.gates):
        return asked
    from nvidia_runtime import image_env, image_policy  # only where images are not trusted

    image = image_env.read(found.spec, invocation.container)
    return image_policy.limit(asked, settings, image)


def _compare(environment: dict[str, str], mode: str, settings: "Settings") -> list[str]:
    """Say what a container asks of CUDA and the driver in vain.

    Raises `NvidiaRuntimeError` instead where the settings, or csv mode, enforce what images
    require.
    """
    said: list[str] = []
    rule = "strict" if mode == "csv" else settings[REQUIREMENTS]
    if settings["disable-require"]:
        rule = "ignore"
    if rule != "ignore" and request.has_requirements(environment):
        start.preload("requirements", "host.facts")  # only for images that are based on CUDA's
        from nvidia_runtime import requirements
        from nvidia_runtime.host import facts

        if rule == "strict":
            from nvidia_runtime import tegra_requirements  # heavy: asks libcuda

            tegra_requirements.enforce(environment, settings)
        else:
            said += requirements.judge(environment, facts.read(), rule)
    wanted = environment.get("NVIDIA_DRIVER_CAPABILITIES", "")
    supported: str = settings["supported-driver-capabilities"]
    if wanted and not {"all", *supported.split(",")}.issuperset(wanted.split(",")):
        from nvidia_runtime import capabilities  # seldom: every CUDA image asks for usual ones

        unsupported = capabilities.choose(wanted, supported, legacy_image=False).unsupported
        if unsupported:
            said.append(capabilities.warning(unsupported, supported))
    return said


def _resolve_mode(
    asked: request.Request, known: "Snapshot", program: str
) -> "tuple[str, policy.Admitted]":
    """Give the mode of this container and what it may have there.

    ``auto`` is cdi if all devices are asked for by qualified names; annotations count in cdi only.
    """
    settings = known.settings
    mode: str = settings[f"{SECTION}.mode"]
    for forced in ("cdi", "legacy"):
        if program == f"{SECTION}.{forced}":
            mode = forced
    if mode == "auto":
        admitted = policy.admit(asked, settings, annotations=True, any_channel=True)
        qualified = resolve.qualify(admitted.devices, "")
        if admitted.devices and not any(name[:1] == "=" for name in qualified):
            return "cdi", admitted
        admitted = policy.admit(asked, settings, annotations=False, any_channel=True)
        if not admitted.devices:
            return "jit-cdi", admitted
        start.preload("host.platform", "machine", "automatic")  # looks at the machine
        from nvidia_runtime.host import platform

        mode = platform.mode()
        if not mode:
            from nvidia_runtime import automatic  # on some Tegra systems NVML must be asked

            mode = automatic.platform(known)
        return mode, admitted
    if mode not in MODES:
        what = f"invalid mode {mode!r}" if mode else "no mode is set"
        hint = f"set {SECTION}.mode to one of auto, {', '.join(MODES)}"
        raise NvidiaRuntimeError(what, where=f"{known.config}: {SECTION}.mode", hint=hint)
    admitted = policy.admit(
        asked, settings, annotations=mode == "cdi", any_channel=mode in ("cdi", "jit-cdi")
    )
    return mode, admitted


def _sources(
    found: bundle.Bundle,
    asked: request.Request,
    admitted: policy.Admitted,
    mode: str,
    known: "Snapshot",
) -> list[resolve.Source]:
    """Find what is to be injected, and who says so."""
    settings = known.settings
    if mode == "legacy":
        start.preload("legacy", "legacy_extras")  # other modes do without
        from nvidia_runtime import legacy

        injected = legacy.sources(found.spec, asked, admitted, settings, found.path)
        if asked.overrides:
            from nvidia_runtime import image_policy  # only where images are not trusted

            injected.append(image_policy.override(asked.overrides))
        return injected
    if not admitted.devices:
        return []
    ids = admitted.devices
    if mode != "csv":
        kind: str = settings[resolve.DEFAULT_KIND] if mode == "cdi" else AUTOMATIC[:-1]
        names = resolve.qualify(ids, kind)
        automatic = [name for name in names if name.startswith(AUTOMATIC)]
        if not automatic:
            return _resolve(names, known, admitted.warnings)
        if len(automatic) != len(names):
            what = f"cannot inject {automatic[0]} together with devices of other CDI kinds"
            raise NvidiaRuntimeError(what, hint=f"ask for devices below {AUTOMATIC}, or for others")
        ids = tuple(name[len(AUTOMATIC) :] for name in automatic)
    start.preload("machine", "automatic")  # other modes do without
    from nvidia_runtime import automatic as of_machine

    return of_machine.sources(ids, mode, admitted, asked.environment, known)


def _resolve(names: tuple[str, ...], known: "Snapshot", said: list[str]) -> list[resolve.Source]:
    """Look devices up in the snapshot, or in the specs if these have changed.

    What goes wrong with the snapshot may be the snapshot's fault: the specs have the last word,
    and over those that we wrote the machine.
    """
    try:
        if known.has_fresh_devices():
            found = resolve.sources(names, known)
            if not resolve.misfit(found)[0]:
                return found
    except (ValueError, LookupError, TypeError, NvidiaRuntimeError):
        pass
    from nvidia_runtime import stale  # heavy: YAML

    return stale.sources(names, known, said)


def _open_log(settings: "Settings", invocation: "Invocation", log: "Log | None") -> "Log | None":
    debug: str = settings[f"{SECTION}.debug"]
    level: str = settings[f"{SECTION}.log-level"]
    if debug not in ("", "/dev/null"):
        from nvidia_runtime.log import Log  # only where somebody asks for one

        log = log or Log(invocation.log_json)
        log.open(debug)
    if log and not invocation.debug:
        log.set_level(level)
    return log


def _tell(log: "Log", mode: str, admitted: policy.Admitted) -> None:
    for sentence in admitted.refusals + admitted.warnings:
        log.write("warning", sentence)
    asked = (
        f", devices {','.join(admitted.devices)} by {admitted.source}" if admitted.devices else ""
    )
    log.write("info", f"mode {mode}{asked}")
