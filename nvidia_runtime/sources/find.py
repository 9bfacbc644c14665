# SPDX-License-Identifier: Apache-2.0
"""The mode of a container, and what is injected into it: by mode another source says so."""

from nvidia_runtime import errors, start
from nvidia_runtime.admission import policy, request
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci.bundle import mounts, unmapped
from nvidia_runtime.prepare import decide
from nvidia_runtime.store.snapshot import CAPABILITIES, DISABLE_REQUIRE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.admission.request import Request
    from nvidia_runtime.document import Document
    from nvidia_runtime.oci.bundle import Bundle
    from nvidia_runtime.store.lines import Source
    from nvidia_runtime.store.snapshot import Settings, Snapshot

SECTION = "nvidia-container-runtime"
MODES = ("legacy", "csv", "cdi", "jit-cdi")
MACHINE = "runtime.nvidia.com/gpu"
UNMAPPED = "the container's user namespace does not have them"
COMPAT32 = "compat32"
REQUIREMENTS = f"{SECTION}.requirements"


def admit(asked: "Request", snapshot: "Snapshot", program: str) -> "Admitted":
    """Return what a container may have, and the mode by which it gets that.

    ``program`` is the name that we were called by, which may force a mode.  Raises
    `NvidiaRuntimeError` for an unknown mode, and where what an image requires is enforced.
    """
    settings = snapshot.settings
    mode: str = settings[f"{SECTION}.mode"]
    for forced in ("cdi", "legacy"):
        if program == f"{SECTION}.{forced}":
            mode = forced
    check_mode(mode, snapshot.config)
    admitted = policy.admit(asked, settings, mode)
    if admitted.mode == "auto":
        admitted.mode = _platform(snapshot) if admitted.devices else "jit-cdi"
    if admitted.devices and admitted.mode != "legacy":  # there the prestart hook's program judges
        admitted.warnings = _compare(asked.environment, admitted.mode, settings)
        admitted.has_compat32 = _has_compat32(asked.environment, settings)
        if asked.mig and not asked.privileged:
            raise policy.mig_error(asked.mig[0])
        admitted.mig = asked.mig
    return admitted


def check_mode(mode: str, config: str) -> None:
    """Raise `NvidiaRuntimeError` for a mode of a config.toml that there is not."""
    if mode != "auto" and mode not in MODES:
        what = f"invalid mode {mode!r}" if mode else "no mode is set"
        hint = f"set {SECTION}.mode to one of auto, {', '.join(MODES)}"
        raise NvidiaRuntimeError(what, where=f"{config}: {SECTION}.mode", hint=hint)


def _platform(snapshot: "Snapshot") -> str:
    # Only this looks at the machine.
    start.preload("host.platform", "sources.specs", "store.machine_file", "sources.machine")
    from nvidia_runtime.host import platform

    if mode := platform.mode():
        return mode
    from nvidia_runtime.sources import machine  # on some Tegra systems NVML must be asked

    return machine.platform(snapshot)


def _compare(environment: dict[str, str], mode: str, settings: "Settings") -> list[str]:
    """Say what a container asks of CUDA and the driver in vain.

    Raises `NvidiaRuntimeError` instead where the settings, or csv mode, enforce what images
    require.
    """
    warnings: list[str] = []
    rule = "strict" if mode == "csv" else settings[REQUIREMENTS]
    if settings[DISABLE_REQUIRE]:
        rule = "ignore"
    if rule != "ignore" and request.has_requirements(environment):
        start.preload("admission.requirements", "host.facts")  # only for images based on CUDA's
        from nvidia_runtime.admission import requirements
        from nvidia_runtime.host import facts

        if rule == "strict":
            requirements.enforce(environment, settings)
        else:
            warnings += requirements.judge(environment, facts.read(), rule)
    wanted = environment.get(request.DRIVER_CAPABILITIES, "")
    supported: str = settings[CAPABILITIES]
    if wanted and not {"all", *supported.split(",")}.issuperset(wanted.split(",")):
        from nvidia_runtime.admission import capabilities  # every CUDA image asks for usual ones

        unsupported = capabilities.choose(wanted, supported, legacy_image=False).unsupported
        if unsupported:
            warnings.append(capabilities.warning(unsupported, supported))
    return warnings


def _has_compat32(environment: dict[str, str], settings: "Settings") -> bool:
    """Whether a container gets 32-bit libraries: by ``compat32``, or ``all`` as nvidia-docker's.

    Not by saying nothing, which old images do.
    """
    wanted = environment.get(request.DRIVER_CAPABILITIES, "")
    if COMPAT32 not in wanted and "all" not in wanted:
        return False
    from nvidia_runtime.admission import capabilities  # as above

    supported: str = settings[CAPABILITIES]
    return COMPAT32 in capabilities.choose(wanted, supported, legacy_image=False).granted


def sources(
    bundle: "Bundle", asked: "Request", admitted: "Admitted", snapshot: "Snapshot"
) -> "list[Source]":
    """Return what is to be injected, by its source; what is odd is added to the warnings.

    What the engine has injected by itself comes first.
    """
    injected = _by_mode(bundle, asked, admitted, snapshot)
    if hooks := decide.by_engine(bundle.spec):
        start.preload("admission.engine", "sources.specs", "sources.native")
        from nvidia_runtime.sources import native  # where an engine reads CDI specs

        native.leave_out_mounted(injected, bundle)
        injected.insert(0, native.read(bundle, hooks, admitted.warnings))
        admitted.has_native = True
        if not admitted.has_compat32:  # else it has them by what it asks us for
            admitted.has_compat32 = _has_compat32(asked.environment, snapshot.settings)
            injected += _beside(mounts(bundle.spec), asked, admitted, snapshot)
    if admitted.mig:
        from nvidia_runtime.sources import generated  # what manages MIG devices asks so

        managing = generated.mig(admitted, snapshot.settings)
        injected += [managing] if managing.edits else []
    _leave_out_groups(injected, bundle, admitted)
    return injected


def _leave_out_groups(injected: "list[Source]", bundle: "Bundle", admitted: "Admitted") -> None:
    """Leave out groups that the container's user namespace lacks: runc would fail at them."""
    having = [source for source in injected if "additionalGids" in source.edits]
    gids = list(dict.fromkeys(gid for source in having for gid in source.edits["additionalGids"]))
    if gids and (lost := unmapped(bundle.spec, gids)):
        for source in having:
            own = source.edits["additionalGids"]
            source.edits["additionalGids"] = [gid for gid in own if gid not in lost]
        which = errors.some(list(map(str, lost)))
        admitted.warnings.append(f"leaving out the groups {which}: {UNMAPPED}")


def _by_mode(
    bundle: "Bundle", asked: "Request", admitted: "Admitted", snapshot: "Snapshot"
) -> "list[Source]":
    mode = admitted.mode
    if mode == "legacy":
        start.preload("sources.legacy")  # other modes do without
        from nvidia_runtime.sources import legacy

        return legacy.sources(bundle, asked, admitted, snapshot.settings)
    if not admitted.devices:
        return []
    ids = admitted.devices
    if mode != "csv":
        kind: str = snapshot.settings[request.DEFAULT_KIND] if mode == "cdi" else MACHINE
        names = request.qualify(ids, kind)
        ids = tuple(name[len(MACHINE) + 1 :] for name in names if name.startswith(f"{MACHINE}="))
        if not ids:
            devices = _registered(names, snapshot, admitted.warnings)
            driver = [mount for source in devices for mount in source.edits.get("mounts", ())]
            return devices + _beside(driver, asked, admitted, snapshot)
        if len(ids) != len(names):
            what = f"cannot inject {MACHINE}={ids[0]} together with devices of other CDI kinds"
            raise NvidiaRuntimeError(what, hint=f"ask for devices below {MACHINE}=, or for others")
    start.preload("sources.specs", "store.machine_file", "sources.machine")  # as above
    from nvidia_runtime.sources import machine

    return machine.sources(ids, admitted, asked.environment, snapshot)


def _beside(
    driver: "list[Document]", asked: "Request", admitted: "Admitted", snapshot: "Snapshot"
) -> "list[Source]":
    """Return what the machine has beside what CDI specs say, for a container that asks for it.

    ``driver`` are the mounts of what these describe.
    """
    if not admitted.has_compat32:
        return []
    start.preload("sources.specs", "store.machine_file", "sources.machine")  # others do without
    from nvidia_runtime.sources import machine

    return machine.beside(driver, admitted, asked.environment, snapshot)


def _registered(
    names: tuple[str, ...], snapshot: "Snapshot", warnings: list[str]
) -> "list[Source]":
    """Look devices up in the snapshot, or in the specs if these have changed.

    What goes wrong with the snapshot may be the snapshot's fault: the specs have the last word,
    and over those that we wrote the machine.
    """
    start.preload("sources.specs")  # legacy mode does without
    from nvidia_runtime.sources import specs

    try:
        devices = specs.sources(names, snapshot) if snapshot.has_fresh_devices() else []
        is_fit = bool(devices) and not specs.misfit(devices)[0]
    except (ValueError, LookupError, TypeError, NvidiaRuntimeError):
        is_fit = False
    if not is_fit:
        from nvidia_runtime.sources import renew  # heavy: YAML

        devices = renew.sources(names, snapshot, warnings)
    devices = specs.judge(devices, warnings)
    warnings += specs.doubts(devices)
    return devices


def edits(sources: "list[Source]", bundle: "Bundle", runtime: str) -> "list[Document]":
    """Return the edits of sources, with device nodes and network interfaces as the host has them.

    ``runtime`` is the low-level runtime's path, which tells whether it moves interfaces itself.
    """
    having = [source for source in sources if "devices" in source.edits]
    if having:
        start.preload("sources.specs")
        from nvidia_runtime.sources import specs  # as above

        for source in having:
            specs.fill_nodes(source.edits, source.origin)
    filled = [source.edits for source in sources if source.edits]
    if any("netDevices" in edit for edit in filled):
        from nvidia_runtime.net import devices  # few containers get network interfaces

        filled.append(devices.prepare(bundle.spec, sources, runtime, bundle.path))
    return filled
