# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-runtime-hook: let ``nvidia-container-cli`` give a container its GPUs.

runc calls it at prestart, in legacy mode or for docker's ``--gpus``; podman and CRI-O do so by a
file in hooks.d.  What a container may have is decided as in the runtime; annotations do not count,
and there is no other mode.  With a warm snapshot it imports what create does.
"""

import posix
import sys

from nvidia_runtime import document, start
from nvidia_runtime.admission import capabilities, policy, request
from nvidia_runtime.errors import NvidiaRuntimeError, internal
from nvidia_runtime.hooks import command_line, container_cli
from nvidia_runtime.oci import bundle, state
from nvidia_runtime.store import files
from nvidia_runtime.store import snapshot as snapshots
from nvidia_runtime.store.snapshot import (
    CAPABILITIES,
    DISABLE_REQUIRE,
    IMAGE_REQUESTS,
    MODE,
    VOLUME_MOUNTS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.hooks.command_line import Call
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.oci.state import State
    from nvidia_runtime.store.snapshot import Settings, Snapshot

HOOK = "nvidia-container-runtime-hook"
SKIP_MODE = f"{HOOK}.skip-mode-detection"


def main() -> None:
    """Do what ``sys.argv`` says; never return."""
    ignored, launcher, words = sys.argv[3], sys.argv[4], sys.argv[5:]
    call = command_line.parse(words)
    if call.version and not (call.complaint or call.help):
        from nvidia_runtime import TOOLKIT

        posix.write(1, f"NVIDIA Container Runtime Hook version {TOOLKIT}\n".encode())
        _exit(0)
    if call.command in command_line.NO_OPERATIONS:
        _exit(0)
    if call.command != "prestart":
        from nvidia_runtime import log

        log.warn(f"{call.complaint}\n{command_line.USAGE}".lstrip())
        _exit(0 if call.help else 2)
    program = launcher.rpartition("/")[2]
    try:
        configure(call, program, ignored)
    except NvidiaRuntimeError as error:
        _end(error, program)
    except Exception as error:  # a bug: still one line for the engine
        if call.debug:
            raise
        _end(internal(error, "-debug"), program)
    _warn(start.warnings(), program)
    _exit(0)


def configure(call: "Call", program: str, ignored: str) -> None:
    """Become ``nvidia-container-cli`` if the container asks for devices and may have some."""
    container = state.read()
    config = bundle.read(container.bundle)
    try:
        snapshot = _load(call.config)
    except NvidiaRuntimeError:
        if _may_ask(config):
            raise
        return
    settings = snapshot.settings
    asked = _read_request(config, container, settings)
    admitted = policy.admit(asked, settings, "hook")
    _warn(admitted.refusals, program)
    if admitted.devices:
        grant = _grant(config, container, asked, admitted, snapshot)
        _check_mode(admitted.devices, snapshot)
        words = container_cli.words(grant, settings, debug=call.debug)
        _warn(start.warnings(), program)
        container_cli.run(words, snapshot, ignored)


def _warn(sentences: "Iterable[str]", program: str) -> None:
    for sentence in sentences:
        from nvidia_runtime import log  # only where there is something to say

        log.warn(log.shown(f"{program}: {sentence}") + "\n")


def _load(file: str) -> "Snapshot":
    """Return the settings with their file, which must exist if the call or a variable names it."""
    config = file or files.config_path(by_home=False)  # HOME may be the container's
    snapshot = snapshots.load(config)
    if snapshot is None:
        from nvidia_runtime.compile import snapshot as compile  # heavy: TOML

        snapshot = compile.settings(config)
    by = "-config" if file else "NVIDIA_CTK_CONFIG_FILE_PATH"
    if snapshot.stamp is None and (file or files.environment(by.encode())):
        hint = f"correct {by}, or leave it out: without a file the defaults hold"
        raise NvidiaRuntimeError("there is no such configuration file", where=config, hint=hint)
    return snapshot


def _may_ask(config: "Bundle") -> bool:
    """Whether a container may ask for devices, as far as broken settings can tell."""
    from nvidia_runtime.compile import (
        snapshot as compile,  # it is loaded: it said that they are broken
    )

    asked = request.read(config.spec, {**compile.defaults(), VOLUME_MOUNTS: True}, config.path)
    return bool(asked.by_env or asked.by_mount)


def _read_request(config: "Bundle", container: "State", settings: "Settings") -> request.Request:
    asked = request.read(config.spec, {**settings, request.ANNOTATION_PREFIXES: []}, config.path)
    if settings[IMAGE_REQUESTS] == "allow" or not (asked.by_env or asked.imex_by_env):
        return asked
    from nvidia_runtime.admission import image as image_env  # only where images are not trusted
    from nvidia_runtime.admission import image_policy

    image = image_env.read(config.spec, container.container)
    return image_policy.limit(asked, settings, image)


def _grant(
    config: "Bundle",
    container: "State",
    asked: request.Request,
    admitted: "Admitted",
    snapshot: "Snapshot",
) -> container_cli.Grant:
    """Say in the program's terms what the container gets."""
    if not container.pid:
        raise NvidiaRuntimeError("has no pid", where=state.WHERE, hint=state.HINT)
    root = _root(config, container.bundle)
    devices = () if admitted.devices == ("none",) else admitted.devices
    grant = container_cli.Grant(",".join(devices), container.pid, root)
    is_privileged = _is_privileged(config)
    if asked.mig and not is_privileged:
        raise policy.mig_error(asked.mig[0])
    grant.mig_config, grant.mig_monitor = (asked.environment.get(name, "") for name in request.MIG)
    grant.imex = ",".join(admitted.imex)
    grant.capabilities = _capabilities(asked.environment, snapshot)
    grant.requirements = _requirements(asked.environment, snapshot.settings)
    return grant


def _required(config: "Bundle", name: str, kind: type) -> "Any":
    value = config.spec.get(name)
    if not value:
        raise NvidiaRuntimeError(f"has no {name}", where=config.path, hint=bundle.HINT)
    if type(value) is not kind:
        wanted = "an object" if kind is dict else "a string"
        raise document.wrong_type(f"{config.path}: {name}", wanted, value)
    return value


def _root(config: "Bundle", folder: str) -> str:
    """Return the absolute path of the container's root, without dots."""
    root = _required(config, "root", dict)
    path = bundle.root_path(config.spec, folder)
    if not path:
        raise document.wrong_type(f"{config.path}: root.path", "a path", root.get("path"))
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _is_privileged(config: "Bundle") -> bool:
    """Whether CAP_SYS_ADMIN is in the bounding set, which must have the form of its version."""
    version = _required(config, "ociVersion", str)
    process = _required(config, "process", dict)
    where = f"{config.path}: process.capabilities"
    given = process.get("capabilities")
    if has_listed_capabilities(version):
        if given is not None and type(given) is not list:
            raise document.wrong_type(where, f"a list in version {version}", given)
    elif type(given) is list:
        raise document.wrong_type(where, f"an object in version {version}", given)
    return request.is_privileged(process, config.path)


def has_listed_capabilities(version: str) -> bool:
    """Whether capabilities are one list: from 1.0.0-rc1 up to, but without, 1.0.0-rc5.

    Semantic versioning compares pre-releases as texts: rc10 comes before rc5.
    """
    release, _, pre = version.removeprefix("v").partition("+")[0].partition("-")
    return release == "1.0.0" and "rc1" <= pre < "rc5"


def _capabilities(environment: dict[str, str], snapshot: "Snapshot") -> tuple[str, ...]:
    setting: str = snapshot.settings[CAPABILITIES]
    if unknown := set(capabilities.supported(setting)).difference(capabilities.KNOWN):
        what = f"has unknown driver capabilities: {', '.join(sorted(unknown))}"
        hint = f"there are {', '.join(capabilities.KNOWN)}"
        where = f"{snapshot.config}: {CAPABILITIES}"
        raise NvidiaRuntimeError(what, where=where, hint=hint)
    value = environment.get(capabilities.VARIABLE)
    is_legacy = request.is_legacy_image(environment)
    chosen = capabilities.choose(value, setting, legacy_image=is_legacy)
    if chosen.unsupported:
        hint = f"take them out of {capabilities.VARIABLE}, or add them to {CAPABILITIES}"
        raise NvidiaRuntimeError(capabilities.warning(chosen.unsupported, setting), hint=hint)
    return chosen.granted


def _requirements(environment: dict[str, str], settings: "Settings") -> tuple[str, ...]:
    """Return what the image requires; the program judges it."""
    if settings[DISABLE_REQUIRE] or not request.has_requirements(environment):
        return ()
    start.preload("admission.requirements")  # only for images that are based on CUDA's
    from nvidia_runtime.admission import requirements

    required = requirements.read(environment)
    version = environment.get("CUDA_VERSION", "")
    if "CUDA_VERSION" in required and requirements.version_of(version) is None:
        what = f"cannot understand the image's CUDA_VERSION: {version!r} is not a version"
        raise NvidiaRuntimeError(what, hint=f"correct it or set {requirements.DISABLE}=true")
    return tuple(required.values())


def _check_mode(devices: tuple[str, ...], snapshot: "Snapshot") -> None:
    """Refuse the call where the runtime injects the devices in another way."""
    mode: str = snapshot.settings[MODE]
    if snapshot.settings[SKIP_MODE] or mode == "legacy":
        return
    if mode == "auto":
        mode = "cdi"
        if any(name[:1] == "=" for name in request.qualify(devices, "")):
            from nvidia_runtime.host import platform  # looks at the machine

            mode = platform.mode()
            if not mode:
                from nvidia_runtime.host import machine  # seldom: NVML must be asked

                mode = machine.auto_mode()
            if mode != "csv":
                return
    raise NvidiaRuntimeError(
        "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus "
        "flag) is not supported. Please use the NVIDIA Container Runtime (e.g. specify the "
        "--runtime=nvidia flag) instead",
        hint=f"the mode for these devices is {mode!r}, and the hook is legacy mode's; "
        f"{MODE} and {SKIP_MODE} in {snapshot.config} decide",
    )


def _end(error: NvidiaRuntimeError, program: str) -> None:
    from nvidia_runtime.log import Log, report

    _warn(start.warnings(), program)
    report(error, program, Log())
    _exit(error.exit_code)


def _exit(code: int) -> None:
    posix._exit(code)  # noqa: SLF001 (no finalization: nothing is left to flush)
