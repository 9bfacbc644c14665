# SPDX-License-Identifier: Apache-2.0
"""What this machine itself says: the devices of jit-cdi and csv mode, and what goes with them.

The machine file answers; what it does not know, or no longer, is generated.  Gated features and
IMEX channels are looked up here and now: few containers ask, and their nodes come and go.
Ring: create, in those modes with devices.
"""

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store import machine_file as this_machine
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.store.snapshot import Settings, Snapshot

    Edits = dict[str, Any]

ALL_CSV_FILES = ("NVIDIA_REQUIRE_JETPACK", "csv-mounts=all")
NO_GPU = "the container asks for all GPUs and gets none: this machine has none to give now"
ROOT = "nvidia-container-cli.root"
CAPABILITIES = "nvidia-container-runtime.modes.jit-cdi.driver-capabilities"


def sources(
    ids: tuple[str, ...],
    mode: str,
    admitted: "Admitted",
    environment: dict[str, str],
    known: "Snapshot",
) -> list[Source]:
    """Return the edits for devices of this machine, and for the features that were asked for.

    Raises `NvidiaRuntimeError` for an id that the machine lacks, and for one of a sick device.
    """
    variant = "auto"
    if mode == "csv":
        variant = "csv-all" if environment.get(ALL_CSV_FILES[0]) == ALL_CSV_FILES[1] else "csv"
    found = _devices(ids, variant, known)
    if "all" in ids and mode != "csv" and not any(each.name and each.edits for each in found):
        admitted.warnings.append(NO_GPU)  # MIG mode without a MIG device, or all cards are gone
    settings = known.settings
    if settings[CAPABILITIES] == "requested" and mode != "csv":
        from nvidia_runtime.sources import capability_files  # a choice that few make

        found = capability_files.limit(found, environment, settings)
    gated = [_gated(gate, settings) for gate in admitted.gates]
    if mode == "csv":
        found = gated + found
    else:
        found += gated
        if admitted.imex:
            found.append(_imex(admitted.imex, settings))
    return [source for source in found if source.edits]


def platform(known: "Snapshot") -> str:
    """Return the mode that ``auto`` means where only NVML's names of GPUs tell."""
    found = this_machine.load(known, "auto")
    if found is None:
        from nvidia_runtime.compile import machine_file  # heavy: the machine

        return machine_file.platform_of()
    return found.platform


def _devices(ids: tuple[str, ...], variant: str, known: "Snapshot") -> list[Source]:
    """Look ids up in the machine file, else in the machine.

    What the file cannot give may be there by now, so the machine has the last word.
    """
    found = this_machine.load(known, variant)
    if found:
        try:
            devices, missing = this_machine.sources(ids, found)
            if not missing:
                return devices
        except (NvidiaRuntimeError, ValueError, LookupError, TypeError):
            pass
    from nvidia_runtime.compile import machine_file  # heavy: the machine

    return machine_file.sources(ids, known, variant)


def _gated(gate: str, settings: "Settings") -> Source:
    from nvidia_runtime.generate import gated  # only where a container asks

    return _source(gate, gated.configured(gate, settings))


def _imex(channels: tuple[str, ...], settings: "Settings") -> Source:
    from nvidia_runtime.generate import assemble, machine  # only where a container asks
    from nvidia_runtime.generate.options import Options

    options = Options("imex", channels)
    options.driver_root = str(settings[ROOT]) or "/"
    options.merged_device = False
    devices = machine.generate(options).spec["devices"]
    return _source("imex", assemble.merge(each["containerEdits"] for each in devices))


def _source(name: str, edits: "Edits") -> Source:
    from nvidia_runtime.cdi import edits as cdi_edits  # what was generated is in a spec's form

    origin = document.dumps({"generator": name}).decode()
    return Source("", origin, document.dumps(cdi_edits.prepare(edits)).decode())
