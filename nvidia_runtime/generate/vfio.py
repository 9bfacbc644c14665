# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of GPUs for virtual machines: Kata Containers, KubeVirt.

A runtime that makes a virtual machine finds in a container's nodes what it has to give it; no file
of the driver goes with it.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, naming
from nvidia_runtime.generate.options import Generated, Options
from nvidia_runtime.generate.selection import ALL
from nvidia_runtime.host import vfio
from nvidia_runtime.host.vfio import PassthroughGpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.host.machine import Machine

    Edits = dict[str, Any]

# A GPU as a whole, of which the host has nothing: nvidia.com/pgpu, beside nvidia.com/gpu.
CLASS, USUAL_CLASS = "pgpu", "gpu"


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the CDI spec of the GPUs that vfio-pci has.

    A device has the GPU's index among all on the bus, and its address where others have a UUID.
    Raises `NvidiaRuntimeError` for an id that the machine lacks, and without a usable GPU.
    """
    gpus = vfio.find(machine.kernel_root)
    chosen = _choose(gpus, options.ids)
    if not chosen:
        raise _nothing(gpus, f"{machine.kernel_root}/sys/bus/pci/drivers/{vfio.DRIVER}")
    devices, shared, warnings = [], dict[str, None](), list[str]()
    for gpu in chosen:
        path, beside = _paths(gpu, machine)
        shared[beside] = None
        edits = {"deviceNodes": [_node(path, machine)]}
        names = naming.names(options.strategies, str(gpu.index), gpu.address)
        devices += [assemble.device(name, edits) for name in names]
        if others := vfio.in_use(gpu, machine.kernel_root):
            what = f"GPU {gpu.index} ({gpu.address}) shares IOMMU group {gpu.group} with"
            warnings.append(f"{what} {', '.join(others)}: {NOT_BEFORE}")
    if options.device_class == USUAL_CLASS:
        options = options.but(device_class=CLASS)
    common = {"deviceNodes": [_node(path, machine) for path in shared]}
    generated = Generated(assemble.spec(options, devices, common))
    generated.warnings = warnings
    generated.watched = [f"{machine.dev_root.rstrip('/')}{vfio.FOLDER}"]
    return generated


NOT_BEFORE = "no virtual machine can have it before vfio-pci has them too"


def _choose(gpus: list[PassthroughGpu], ids: tuple[str, ...]) -> list[PassthroughGpu]:
    if ALL in ids:
        return [gpu for gpu in gpus if gpu.is_free()]
    by_id = {name: gpu for gpu in gpus for name in (str(gpu.index), gpu.address)}
    if unknown := [name for name in ids if name not in by_id]:
        present = ", ".join(f"{gpu.index} ({gpu.address})" for gpu in gpus) or "no GPU of NVIDIA's"
        what = f"this machine has no device {', '.join(map(repr, unknown))}"
        raise NvidiaRuntimeError(what, hint=f"on its PCI bus is {present}")
    chosen = list(dict.fromkeys(by_id[name] for name in ids))
    for gpu in chosen:
        if not gpu.is_free():
            what = f"GPU {gpu.index} ({gpu.address}) has {_driver(gpu)}, not {vfio.DRIVER}"
            hint = f"'driverctl set-override {gpu.address} {vfio.DRIVER}' gives it away"
            raise NvidiaRuntimeError(what, hint=hint)
    return chosen


def _driver(gpu: PassthroughGpu) -> str:
    return f"the driver {gpu.driver}" if gpu.driver else "no driver"


def _paths(gpu: PassthroughGpu, machine: Machine) -> tuple[str, str]:
    path, beside = vfio.node_paths(gpu, machine.dev_root)
    if path:
        return path, beside
    place = f"{machine.dev_root.rstrip('/')}{vfio.FOLDER}/{gpu.group}"
    what = f"GPU {gpu.index} ({gpu.address}) has no node"
    if not gpu.group:
        what += ", and no IOMMU group"
    hint = "switch the IOMMU on, in the firmware and by intel_iommu=on where the CPU is Intel's"
    raise NvidiaRuntimeError(what, where=place, hint=hint)


def _node(path: str, machine: Machine) -> Edits:
    """Return the entry of a node, without numbers: those of the node at injection count."""
    return {"path": path, "hostPath": os.path.join(machine.dev_root, path.lstrip("/"))}


def _nothing(gpus: list[PassthroughGpu], where: str) -> NvidiaRuntimeError:
    what = f"{vfio.DRIVER} has no GPU of NVIDIA's"
    if not gpus:
        what = "there is no GPU of NVIDIA's on the PCI bus"
    first = gpus[0].address if gpus else "ADDRESS"
    hint = f"'driverctl set-override {first} {vfio.DRIVER}' gives one to virtual machines"
    return NvidiaRuntimeError(what, where=where, hint=hint)
