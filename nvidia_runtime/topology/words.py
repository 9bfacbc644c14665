# SPDX-License-Identifier: Apache-2.0
"""What text and picture say of devices: names of vendors and models, of nodes, of links."""

from __future__ import annotations

from nvidia_runtime.log import shown
from nvidia_runtime.topology.devices import Gpu, Leaf, MigDevice, Nic, NvSwitch, Topology
from nvidia_runtime.topology.sysfs import NumaNode

# As pci.ids has them; of others vendor and device are shown.
VENDORS = {
    "1000": "Broadcom",
    "10de": "NVIDIA",
    "11f8": "Microchip",
    "14e4": "Broadcom",
    "15b3": "Mellanox",
    "1af4": "virtio",
    "1d0f": "Amazon",
    "1dd8": "Pensando",
    "8086": "Intel",
}
MODELS = {
    "15b3:1013": "ConnectX-4",
    "15b3:1015": "ConnectX-4 Lx",
    "15b3:1017": "ConnectX-5",
    "15b3:1019": "ConnectX-5 Ex",
    "15b3:101b": "ConnectX-6",
    "15b3:101d": "ConnectX-6 Dx",
    "15b3:101f": "ConnectX-6 Lx",
    "15b3:1021": "ConnectX-7",
    "15b3:1023": "ConnectX-8",
    "15b3:a2d6": "BlueField-2",
    "15b3:a2dc": "BlueField-3",
    "15b3:a2df": "BlueField-4",
}


def model(leaf: Leaf) -> str:
    """Return the model of a device, or its vendor, as far as it is known."""
    if isinstance(leaf, Gpu) and leaf.model:
        return shown(leaf.model)
    if isinstance(leaf, NvSwitch):
        return ""
    ids = leaf.device.ids
    vendor = VENDORS.get(ids.partition(":")[0], "")
    return MODELS.get(ids) or f"{vendor} {ids}".strip()


def names(nic: Nic) -> str:
    """Return the names of an adapter's interfaces and RDMA devices."""
    parts = (*nic.device.interfaces, *nic.device.rdma_devices)
    return shown(" ".join(parts)) if parts else "no interface"


def state(leaf: Leaf) -> str:
    """Return what is special about a device."""
    parts = ["asleep" if leaf.device.is_asleep else ""]
    if number := leaf.device.virtual_functions:
        parts.append(f"{number} virtual functions" if number > 1 else "1 virtual function")
    if isinstance(leaf, Gpu):
        parts.append(leaf.problem)
    return shown(", ".join(filter(None, parts)))


def node(numa: NumaNode) -> tuple[str, str]:
    """Return the name of a NUMA node, and what it has."""
    if numa.number < 0:
        return "No NUMA node", ""
    return f"NUMA node {numa.number}", shown(f"CPUs {numa.cpus}") if numa.cpus else "memory only"


def mig_device(gpu: Gpu, mig: MigDevice) -> tuple[str, str]:
    """Return the name of a MIG device, as in NVIDIA_VISIBLE_DEVICES, and its instances."""
    name = f"MIG {gpu.index}:{mig.index}" if mig.index >= 0 else "MIG"
    return name, f"GPU instance {mig.gpu_instance}, compute instance {mig.compute_instance}"


def counts(topology: Topology) -> str:
    """Return how many devices there are of each kind."""
    kinds = (
        (len(topology.gpus), "GPU", "GPUs"),
        (sum(len(gpu.migs) for gpu in topology.gpus), "MIG device", "MIG devices"),
        (len(topology.nics), "network adapter", "network adapters"),
        (len(topology.nvswitches), "NVSwitch", "NVSwitches"),
        (len(topology.numa_nodes), "NUMA node", "NUMA nodes"),
    )
    parts = [f"{count} {one if count == 1 else many}" for count, one, many in kinds if count]
    return ", ".join(parts) or "nothing"


def numbers(nodes: list[NumaNode]) -> str:
    """Return the name of some NUMA nodes."""
    listed = ", ".join(str(node.number) for node in nodes)
    return f"NUMA node {listed}" if len(nodes) == 1 else f"NUMA nodes {listed}"
