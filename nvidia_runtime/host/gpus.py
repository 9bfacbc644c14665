# SPDX-License-Identifier: Apache-2.0
"""The GPUs of this machine and their MIG devices: from /proc where it says enough, else from NVML.

Reading /proc wakes no GPU and takes no time.  It lacks UUIDs and profiles of MIG devices, the
addressing mode, and whether a GPU without instances is in MIG mode.
"""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import mig, nodes, platform, proc
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.host.nvml import Inventory

OTHERS = "GPUs that have no node here, and that NVML does not know, are not of this place"
LOST_HINT = "the driver does: what does dmesg say of NVRM?"


def find(machine: Machine, thorough: bool = False) -> list[Gpu]:
    """List the GPUs in the order of indices.

    NVML is asked where /proc does not say enough; with ``thorough`` also where a GPU may be in MIG
    mode without an instance.  In a container with some of the GPUs, /proc lists all of them, and
    NVML tells which there are.  Raises `NvidiaRuntimeError` if NVML does not answer.
    """
    if thorough and mig.is_possible(machine.kernel_root):
        return ask(machine)
    listed = from_proc(machine.kernel_root)
    if not listed:
        return ask(machine)
    if all(_has_node(gpu, machine) for gpu in listed):
        return listed
    try:
        return ask(machine)
    except NvidiaRuntimeError:
        return listed


def ask(machine: Machine) -> list[Gpu]:
    """List the GPUs by NVML.  Raises `NvidiaRuntimeError` if it does not answer."""
    inventory = machine.nvml()
    _compare(inventory, proc.gpus(machine.kernel_root), machine)
    return inventory.gpus


def without_node(machine: Machine) -> list[Gpu]:
    """List the GPUs of /proc that have no node here."""
    return [gpu for gpu in proc.gpus(machine.kernel_root) if not _has_node(gpu, machine)]


def _has_node(gpu: Gpu, machine: Machine) -> bool:
    return nodes.read(machine.dev_root, f"/dev/nvidia{gpu.minor}") is not None


def from_proc(kernel_root: str) -> list[Gpu]:
    """List the GPUs by /proc, none of them if anything that a spec needs is missing there."""
    listed = proc.gpus(kernel_root)
    if platform.is_soc(kernel_root) or not files.loaded_driver(kernel_root):
        return []
    # A GPU that was not initialised since the driver was loaded has question marks for a UUID.
    if any(gpu.minor < 0 or "?" in gpu.uuid or not gpu.uuid for gpu in listed):
        return []
    if mig.has_instances(kernel_root):
        return []
    return listed


def _compare(inventory: Inventory, listed: list[Gpu], machine: Machine) -> None:
    """Find out which GPUs do not answer: those of /proc that NVML does not describe."""
    answering = {gpu.bus_id for gpu in inventory.gpus}
    missing = [gpu for gpu in listed if gpu.bus_id not in answering]
    silent = [gpu for gpu in inventory.gpus if gpu.problem and not gpu.bus_id]
    if len(missing) == len(silent):
        for gpu, entry in zip(silent, missing, strict=True):
            gpu.bus_id, gpu.minor = entry.bus_id, entry.minor
            gpu.uuid = "" if "?" in entry.uuid else entry.uuid
            name = f"GPU {gpu.index}"
            gpu.problem = gpu.problem.replace(name, f"{name} ({gpu.bus_id})", 1)
    elif not silent:
        lost = [gpu.bus_id for gpu in missing if _has_node(gpu, machine)]
        others = [gpu.bus_id for gpu in missing if gpu.bus_id not in lost]
        told = [f"NVML does not know {', '.join(lost)}; {LOST_HINT}"] if lost else []
        told += [f"{OTHERS}: {', '.join(others)}"] if others else []
        inventory.warnings += [line for line in told if line not in inventory.warnings]
