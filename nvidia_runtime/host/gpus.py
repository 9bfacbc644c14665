# SPDX-License-Identifier: Apache-2.0
"""The GPUs of this machine and their MIG devices: from /proc where it says enough, else from NVML.

/proc wakes no GPU and takes no time.  It knows no UUID of a MIG device, no profile, no addressing
mode, and not whether a GPU without instances is in MIG mode.  Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime.host import mig, platform, proc
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.host.nvml import Answer

LOST_HINT = "the driver does: what does dmesg say of NVRM?"


def find(machine: Machine, thorough: bool = False) -> list[Gpu]:
    """List the GPUs in the order of indices.

    NVML is asked where /proc does not say enough; with ``thorough`` also where a GPU may be in MIG
    mode without an instance.  Raises `NvidiaRuntimeError` if NVML does not answer.
    """
    if not (thorough and mig.is_possible(machine.kernel_root)):
        told = from_proc(machine.kernel_root)
        if told:
            return told
    return ask(machine)


def ask(machine: Machine) -> list[Gpu]:
    """List the GPUs by NVML.  Raises `NvidiaRuntimeError` if it does not answer."""
    answer = machine.nvml()
    _compare(answer, proc.gpus(machine.kernel_root))
    return answer.gpus


def from_proc(kernel_root: str) -> list[Gpu]:
    """List the GPUs that /proc tells of, none if anything that a spec needs is not told."""
    listed = proc.gpus(kernel_root)
    if platform.is_soc(kernel_root) or not files.loaded_driver(kernel_root):
        return []
    # A GPU that was not initialised since the driver was loaded has question marks for a UUID.
    if any(gpu.minor < 0 or "?" in gpu.uuid or not gpu.uuid for gpu in listed):
        return []
    if mig.has_instances(kernel_root):
        return []
    return listed


def _compare(answer: Answer, told: list[Gpu]) -> None:
    """Find out from /proc who does not answer: the GPUs there that are none of those who do."""
    known = {gpu.bus_id for gpu in answer.gpus}
    missing = [each for each in told if each.bus_id not in known]
    silent = [gpu for gpu in answer.gpus if gpu.problem and not gpu.bus_id]
    if len(missing) == len(silent):
        for gpu, each in zip(silent, missing, strict=True):
            gpu.bus_id, gpu.minor = each.bus_id, each.minor
            gpu.uuid = "" if "?" in each.uuid else each.uuid
            name = f"GPU {gpu.index}"
            gpu.problem = gpu.problem.replace(name, f"{name} ({gpu.bus_id})", 1)
    elif not silent:
        names = ", ".join(each.bus_id for each in missing)
        answer.warnings.append(f"NVML does not know {names}; {LOST_HINT}")
