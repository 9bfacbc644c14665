# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of PCI devices and NUMA nodes in /sys: Documentation/ABI, sysfs-bus-pci."""

from __future__ import annotations

from nvidia_runtime.simulate import boards
from nvidia_runtime.simulate.machine import PciDevice, SimulatedGpu, SimulatedMachine
from nvidia_runtime.simulate.tree import Folder, Symlink, Tree, text

BUS = "/sys/bus/pci/devices"
DEVICES = "/sys/devices"
NODES = f"{DEVICES}/system/node"


def tree(machine: SimulatedMachine) -> Tree:
    """List the files below /sys; a device without GPU on its place is a GPU that was removed."""
    board = machine.board or boards.default(machine.gpus)
    gpus = {gpu.bus_id: gpu for gpu in machine.gpus if gpu.bus_id}
    nodes: dict[int, str] = dict(enumerate(board.cpus)) | dict.fromkeys(board.memory_nodes, "")
    files: Tree = {f"{NODES}/online": text(",".join(map(str, nodes)) + "\n")}
    for number, cpus in nodes.items():
        files[f"{NODES}/node{number}/cpulist"] = text(f"{cpus}\n")
    for device in board.devices:
        if device.ids or device.address in gpus:
            cpus = nodes[device.node]
            files |= _device(device, gpus.get(device.address), cpus)
    return files


def _device(device: PciDevice, gpu: SimulatedGpu | None, cpus: str) -> Tree:
    root = f"pci{(device.above or (device.address,))[0].rpartition(':')[0]}"
    place = "/".join((root, *device.above, device.address))
    folder = f"{DEVICES}/{place}"
    vendor, model = device.ids.split(":") if device.ids else _ids(gpu)
    files: Tree = {
        f"{BUS}/{device.address}": Symlink(f"../../../devices/{place}"),
        f"{folder}/vendor": text(f"0x{vendor}\n"),
        f"{folder}/device": text(f"0x{model}\n"),
        f"{folder}/class": text(f"{device.kind or (gpu.pci_class if gpu else '')}\n"),
        f"{folder}/numa_node": text(f"{device.node}\n"),
        f"{folder}/local_cpulist": text(f"{cpus}\n"),
        f"{folder}/power/runtime_status": text("active\n"),
    }
    if device.link:
        files[f"{folder}/current_link_speed"] = text(f"{device.link}\n")
        files[f"{folder}/current_link_width"] = text(f"{device.width}\n")
    if device.net:
        files[f"{folder}/net/{device.net}"] = Folder()
    if device.rdma:
        files[f"{folder}/infiniband/{device.rdma}"] = Folder()
    driver = device.driver or (gpu.pci_driver if gpu else "")
    up = "../" * (folder.count("/") - 1)  # to /sys
    if driver:
        files[f"{folder}/driver"] = Symlink(f"{up}bus/pci/drivers/{driver}")
    if device.iommu_group >= 0:
        files[f"{folder}/iommu_group"] = Symlink(f"{up}kernel/iommu_groups/{device.iommu_group}")
    return files | _drm(gpu, folder) if gpu else files


def _ids(gpu: SimulatedGpu | None) -> tuple[str, str]:
    number = f"{gpu.pci_device_id if gpu else 0:08x}"
    return number[4:], number[:4]


def _drm(gpu: SimulatedGpu, folder: str) -> Tree:
    if gpu.card < 0:
        return {}
    return {
        f"{folder}/drm/card{gpu.card}/dev": text(f"226:{gpu.card}\n"),
        f"{folder}/drm/renderD{gpu.render}/dev": text(f"226:{gpu.render}\n"),
    }
