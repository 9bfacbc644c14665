# SPDX-License-Identifier: Apache-2.0
"""From this machine to its topology: places from /sys, names from /proc, MIG devices from NVML."""

from __future__ import annotations

import dataclasses

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import mig, nodes, platform, proc
from nvidia_runtime.topology import devices, sysfs
from nvidia_runtime.topology.devices import Gpu, MigDevice, Nic, NvSwitch, Topology
from nvidia_runtime.topology.sysfs import NumaNode, PciDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host import gpu as host
    from nvidia_runtime.host.machine import Machine

DRIVERS = ("nvidia", "")


def topology(machine: Machine) -> Topology:
    """Find out what a machine has.  NVML is asked only where a GPU has MIG instances."""
    root = machine.kernel_root
    numa_nodes = sysfs.numa_nodes(root)
    all_devices = [_placed(device, numa_nodes) for device in sysfs.pci_devices(root)]
    instances, notes = _mig_devices(machine)
    gpus = _gpus(machine, all_devices, instances)
    adapters = [device for device in all_devices if devices.is_nic(device)]
    switches = [device for device in all_devices if devices.is_nvswitch(device)]
    nics = tuple(Nic(device=device, number=number) for number, device in enumerate(adapters))
    nvswitches = tuple(
        NvSwitch(device=device, number=number) for number, device in enumerate(switches)
    )
    if not gpus:
        notes = [_without_gpu(machine), *notes]
    if not all_devices:
        notes.append(f"{sysfs.DEVICES} shows no PCI device here.")
    return Topology(
        numa_nodes=tuple(numa_nodes),
        gpus=gpus,
        nics=nics,
        nvswitches=nvswitches,
        bridges=devices.bridges(all_devices, (*gpus, *nics, *nvswitches)),
        notes=tuple(notes),
    )


def _placed(device: PciDevice, numa_nodes: list[NumaNode]) -> PciDevice:
    """Return a device with its NUMA node, which firmware leaves out where there is one only."""
    if device.numa_node >= 0 or len(numa_nodes) != 1:
        return device
    return dataclasses.replace(device, numa_node=numa_nodes[0].number)


def _gpus(
    machine: Machine, all_devices: list[PciDevice], instances: dict[str, tuple[MigDevice, ...]]
) -> tuple[Gpu, ...]:
    """List the GPUs of the driver in the order of indices, then those that it does not have."""
    listed = proc.gpus(machine.kernel_root)
    places = {device.address: device for device in all_devices}
    gpus = [_gpu(gpu, places.get(gpu.bus_id), machine, instances) for gpu in listed]
    known_addresses = {gpu.bus_id for gpu in listed}
    others = [
        Gpu(device=device, problem=_unused(device, machine))
        for device in all_devices
        if devices.is_gpu(device) and device.address not in known_addresses
    ]
    return (*gpus, *others)


def _gpu(
    gpu: host.Gpu,
    place: PciDevice | None,
    machine: Machine,
    instances: dict[str, tuple[MigDevice, ...]],
) -> Gpu:
    node = f"/dev/nvidia{gpu.minor}" if gpu.minor >= 0 else ""
    has_node = bool(node) and nodes.read(machine.dev_root, node) is not None
    problem = "" if place else "not in /sys"
    if node and not has_node:
        problem = f"no device node {node} here"
    return Gpu(
        device=place or PciDevice(address=gpu.bus_id),
        index=gpu.index,
        minor=gpu.minor,
        uuid="" if "?" in gpu.uuid else gpu.uuid,
        model=gpu.name,
        node=node if has_node else "",
        migs=instances.get(gpu.bus_id, ()),
        problem=problem,
    )


def _unused(device: PciDevice, machine: Machine) -> str:
    """Say why the driver does not have a GPU."""
    path = f"{machine.kernel_root}{proc.GPUS}/{device.address}/information"
    if proc.information(path).get("GPU Excluded") == "Yes":
        return "excluded from use"
    if device.driver in DRIVERS:
        return "no driver has it"
    return f"the driver {device.driver} has it"


def _mig_devices(machine: Machine) -> tuple[dict[str, tuple[MigDevice, ...]], list[str]]:
    """Return the MIG devices by the address of their GPU, and what went wrong."""
    root = machine.kernel_root
    if not mig.has_instances(root):
        return {}, []
    try:
        inventory = machine.nvml()
    except NvidiaRuntimeError as error:
        listed = {gpu.bus_id: mig.instances(root, gpu.minor) for gpu in proc.gpus(root)}
        unnamed = {
            address: tuple(MigDevice(gpu_instance=one, compute_instance=two) for one, two in pairs)
            for address, pairs in listed.items()
        }
        return unnamed, [f"MIG devices are shown without UUIDs: {error}"]
    return {
        gpu.bus_id: tuple(
            MigDevice(
                gpu_instance=device.gpu_instance,
                compute_instance=device.compute_instance,
                index=device.index,
                uuid=device.uuid,
            )
            for device in gpu.migs
        )
        for gpu in inventory.gpus
    }, inventory.warnings


def _without_gpu(machine: Machine) -> str:
    """Say why there is no GPU."""
    root = machine.driver.root.rstrip("/")
    if platform.is_wsl(root):
        return "The GPUs are those of Windows, behind /dev/dxg: no PCI bus shows them."
    if platform.is_tegra(root, machine.kernel_root):
        return "The GPU is a part of the SoC, not on a PCI bus."
    return "There is no GPU of NVIDIA's on a PCI bus of this machine."
