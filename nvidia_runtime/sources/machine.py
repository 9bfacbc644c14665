# SPDX-License-Identifier: Apache-2.0
"""What this machine itself says: the devices of jit-cdi and csv mode, and what goes with them.

The machine file answers; what it does not know, or no longer, is generated.
"""

from nvidia_runtime import start
from nvidia_runtime.admission import request
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import specs
from nvidia_runtime.store import machine_file as store
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.document import Document
    from nvidia_runtime.store.machine_file import MachineFile
    from nvidia_runtime.store.snapshot import Settings, Snapshot

ALL_CSV_FILES = ("NVIDIA_REQUIRE_JETPACK", "csv-mounts=all")
NO_GPU = "the container asks for all GPUs and gets none: this machine has none to give now"
NO_COMPAT32 = "the container asks for compat32 and gets no 32-bit libraries of the driver"
INSTALL_COMPAT32 = "this machine has none: packages for i386, or of a name with 32, bring them"
CAPABILITIES = "nvidia-container-runtime.modes.jit-cdi.driver-capabilities"


def sources(
    ids: tuple[str, ...], admitted: "Admitted", environment: dict[str, str], snapshot: "Snapshot"
) -> list[Source]:
    """Return the edits for devices of this machine, and for the features that were asked for.

    Raises `NvidiaRuntimeError` for an id that the machine lacks, and for one of a sick device.
    """
    settings = snapshot.settings
    variant = "auto"
    if admitted.mode == "csv":
        is_all = environment.get(ALL_CSV_FILES[0]) == ALL_CSV_FILES[1]
        variant = "csv-all" if is_all else "csv"
    devices, compiled = _devices(ids, variant, snapshot, admitted.warnings)
    if admitted.has_compat32:
        devices += _compat32(compiled, environment, admitted.warnings)
    if admitted.mode == "csv":
        return [*_generated(admitted, settings), *(source for source in devices if source.edits)]
    if "all" in ids and not any(source.name and source.edits for source in devices):
        admitted.warnings.append(NO_GPU)  # MIG mode without a MIG device, or all cards are gone
    if settings[CAPABILITIES] == "requested":
        from nvidia_runtime.sources import capability_files  # a choice that few make

        devices = capability_files.limit(devices, environment, settings)
    return [*(source for source in devices if source.edits), *_generated(admitted, settings)]


def _generated(admitted: "Admitted", settings: "Settings") -> list[Source]:
    """Return the gated features that the container gets, and its IMEX channels."""
    if not (admitted.gates or admitted.imex):
        return []
    from nvidia_runtime.sources import generated  # few containers ask

    injected = [generated.feature(gate, settings) for gate in admitted.gates]
    if admitted.imex and admitted.mode != "csv":
        injected.append(generated.imex(admitted.imex, settings))
    return [source for source in injected if source.edits]


def platform(snapshot: "Snapshot") -> str:
    """Return the mode that ``auto`` means where only NVML's names of GPUs tell."""
    compiled = store.load(snapshot, "auto")
    if compiled is None:
        from nvidia_runtime.compile import machine_file  # heavy: the machine

        return machine_file.platform_of()
    return compiled.platform


def beside(
    mounts: "list[Document]",
    admitted: "Admitted",
    environment: dict[str, str],
    snapshot: "Snapshot",
) -> list[Source]:
    """Return the 32-bit libraries for a container whose driver a CDI spec describes.

    ``mounts`` are those by the spec.  Specs have the libraries of 64 bits alone, as they are for
    all containers, unless they were generated with both.
    """
    if not any("/libcuda.so." in str(mount.get("source")) for mount in mounts):
        return []  # devices of somebody else's
    try:
        compiled = store.load(snapshot, "driver")
        if compiled is None:
            from nvidia_runtime.compile import machine_file  # heavy: the machine

            compiled = machine_file.sources(("none",), snapshot, "driver", [])[1]
    except NvidiaRuntimeError as error:
        admitted.warnings.append(f"{NO_COMPAT32}: {error}")
        return []
    present = {mount["destination"] for mount in mounts}
    libraries = _compat32(compiled, environment, admitted.warnings)
    return [
        source
        for source in libraries
        if present.isdisjoint(mount["destination"] for mount in source.edits["mounts"])
    ]


def _compat32(
    compiled: "MachineFile", environment: dict[str, str], warnings: list[str]
) -> list[Source]:
    libraries = store.compat32(compiled)
    if not libraries and "all" not in environment[request.DRIVER_CAPABILITIES]:
        warnings.append(f"{NO_COMPAT32}; {INSTALL_COMPAT32}")
    return libraries


def _devices(
    ids: tuple[str, ...], variant: str, snapshot: "Snapshot", warnings: list[str]
) -> "tuple[list[Source], MachineFile]":
    """Look ids up in the machine file, else in the machine; return the file, too.

    What the file cannot give may be there by now, so the machine has the last word.
    """
    compiled = store.load(snapshot, variant)
    if compiled:
        try:
            devices, missing = store.sources(ids, compiled)
            if not missing:
                warnings += compiled.warnings()
                return specs.judge(devices, warnings), compiled
        except (NvidiaRuntimeError, ValueError, LookupError, TypeError):
            pass
    from nvidia_runtime.compile import machine_file  # heavy: the machine

    start.lap("sources")
    devices, compiled = machine_file.sources(ids, snapshot, variant, warnings)
    start.lap("compile")
    return specs.judge(devices, warnings), compiled
