# SPDX-License-Identifier: Apache-2.0
"""The driver's capabilities, by which a process may use a MIG device: nv-caps of the kernel module.

Each is a file in /proc/driver/nvidia/capabilities and a node in /dev/nvidia-caps with a minor of a
fixed table; the table itself is in /proc/driver/nvidia-caps.
"""

from __future__ import annotations

from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import File, Folder, Tree, text

ROOT = "/proc/driver/nvidia/capabilities"
MINORS = "/proc/driver/nvidia-caps"
CONFIG, MONITOR, FABRIC_IMEX = 1, 2, 4323
MOST_GPUS, MOST_GPU_INSTANCES, MOST_COMPUTE_INSTANCES = 32, 15, 8
OWNER, ALL = 0o400, 0o444


def has(machine: SimulatedMachine) -> bool:
    """Whether the driver has them: that of discrete GPUs does, with MIG or without."""
    return machine.kind == "pci" and machine.loaded


def minor(gpu: int, gpu_instance: int, compute_instance: int = -1) -> int:
    """Return the minor of an instance's node: each GPU has 135, each GPU instance 9 of them."""
    return 3 + gpu * 135 + gpu_instance * 9 + 1 + compute_instance


def nodes(machine: SimulatedMachine) -> dict[int, int]:
    """List the minors whose nodes exist, each with its mode."""
    if machine.is_container:
        return {}
    modes = {CONFIG: OWNER, MONITOR: ALL}
    for gpu in machine.gpus:
        for device in gpu.mig_devices:
            for compute in (-1, device.compute_instance):
                modes[minor(gpu.minor, device.gpu_instance, compute)] = ALL
    return modes


def tree(machine: SimulatedMachine) -> Tree:
    """List the files below /proc/driver."""
    if not has(machine):
        return {}
    files: Tree = {
        f"{ROOT}/mig/config": _access(CONFIG, OWNER),
        f"{ROOT}/mig/monitor": _access(MONITOR, OWNER),
        f"{ROOT}/fabric-imex-mgmt": _access(FABRIC_IMEX, OWNER),
        f"{MINORS}/mig-minors": text(_table()),
        f"{MINORS}/nvlink-minors": text("fabric-mgmt 0\n"),
        f"{MINORS}/sys-minors": text(f"fabric-imex-mgmt {FABRIC_IMEX}\n"),
    }
    for gpu in machine.drivers_gpus:
        folder = f"{ROOT}/gpu{gpu.minor}/mig"
        if gpu.mig != "unsupported":
            files[folder] = Folder()
        for device in gpu.mig_devices:
            instance, compute = device.gpu_instance, device.compute_instance
            own, inner = minor(gpu.minor, instance), minor(gpu.minor, instance, compute)
            files[f"{folder}/gi{instance}/access"] = _access(own, ALL)
            files[f"{folder}/gi{instance}/ci{compute}/access"] = _access(inner, ALL)
    return files


def _access(number: int, mode: int) -> File:
    return text(f"DeviceFileMinor: {number}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n")


def _table() -> str:
    rows = [f"config {CONFIG}", f"monitor {MONITOR}"]
    for gpu in range(MOST_GPUS):
        for instance in range(MOST_GPU_INSTANCES):
            rows.append(f"gpu{gpu}/gi{instance}/access {minor(gpu, instance)}")
            rows += [
                f"gpu{gpu}/gi{instance}/ci{compute}/access {minor(gpu, instance, compute)}"
                for compute in range(MOST_COMPUTE_INSTANCES)
            ]
    return "".join(f"{row}\n" for row in rows)
