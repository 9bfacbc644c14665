# SPDX-License-Identifier: Apache-2.0
"""What this machine itself says: the devices of jit-cdi and csv mode, and what goes with them.

The machine file answers; what it does not know, or no longer, is generated.
"""

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import specs
from nvidia_runtime.store import machine_file as store
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.store.snapshot import Settings, Snapshot

ALL_CSV_FILES = ("NVIDIA_REQUIRE_JETPACK", "csv-mounts=all")
NO_GPU = "the container asks for all GPUs and gets none: this machine has none to give now"
CAPABILITIES = "nvidia-container-runtime.modes.jit-cdi.driver-capabilities"


def sources(
    ids: tuple[str, ...], admitted: "Admitted", environment: dict[str, str], snapshot: "Snapshot"
) -> list[Source]:
    """Return the edits for devices of this machine, and for the features that were asked for.

    Raises `NvidiaRuntimeError` for an id that the machine lacks, and for one of a sick device.
    """
    settings = snapshot.settings
    if admitted.mode == "csv":
        is_all = environment.get(ALL_CSV_FILES[0]) == ALL_CSV_FILES[1]
        variant = "csv-all" if is_all else "csv"
        devices = _devices(ids, variant, snapshot, admitted.warnings)
        return [*_generated(admitted, settings), *(source for source in devices if source.edits)]
    devices = _devices(ids, "auto", snapshot, admitted.warnings)
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


def _devices(
    ids: tuple[str, ...], variant: str, snapshot: "Snapshot", warnings: list[str]
) -> list[Source]:
    """Look ids up in the machine file, else in the machine.

    What the file cannot give may be there by now, so the machine has the last word.
    """
    compiled = store.load(snapshot, variant)
    if compiled:
        try:
            devices, missing = store.sources(ids, compiled)
            if not missing:
                warnings += compiled.warnings()
                return specs.judge(devices, warnings)
        except (NvidiaRuntimeError, ValueError, LookupError, TypeError):
            pass
    from nvidia_runtime.compile import machine_file  # heavy: the machine

    start.lap("sources")
    devices = machine_file.sources(ids, snapshot, variant, warnings)
    start.lap("compile")
    return specs.judge(devices, warnings)
