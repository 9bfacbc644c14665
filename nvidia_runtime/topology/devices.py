# SPDX-License-Identifier: Apache-2.0
"""The GPUs, network adapters and NVSwitches of a machine, and the bridges above them."""

from __future__ import annotations

from dataclasses import dataclass

from nvidia_runtime.host.pci import VENDOR
from nvidia_runtime.topology.sysfs import NumaNode, PciDevice

# The first four digits of classes, as the PCI Code and ID Assignment Specification has them.
DISPLAYS = ("0300", "0302")
NETWORKS = ("0200", "0207", "0280")
BRIDGE, OTHER_BRIDGE = "0604", "0680"
ROOT_PORT, SWITCH, SWITCH_PORT, PCI_BRIDGE = "root port", "PCIe switch", "switch port", "PCI bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """A MIG device; ``index`` and ``uuid`` are -1 and "" where NVML does not tell them."""

    gpu_instance: int
    compute_instance: int
    index: int = -1
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU; its place in /sys is empty if it has none there.

    ``index`` is that of nvidia-smi, ``minor`` the N of /dev/nvidiaN, both -1 if the driver does not
    have it.  ``node`` is its device node, "" if there is none.  ``problem`` is a sentence.
    """

    device: PciDevice
    index: int = -1
    minor: int = -1
    uuid: str = ""
    model: str = ""
    node: str = ""
    migs: tuple[MigDevice, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """What it is called here."""
        return f"GPU {self.index}" if self.index >= 0 else "GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A network adapter, one of its ports, or an RDMA device; the number is ours."""

    device: PciDevice
    number: int

    @property
    def name(self) -> str:
        """What it is called here."""
        return f"NIC {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NvSwitch:
    """An NVSwitch, by its number in the order of addresses."""

    device: PciDevice
    number: int

    @property
    def name(self) -> str:
        """What it is called here."""
        return f"NVSwitch {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A PCI bridge above one of the devices; ``role`` is root port, PCIe switch and so on."""

    device: PciDevice
    role: str


Leaf = Gpu | Nic | NvSwitch


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What this machine has; ``notes`` are sentences about what it has not."""

    numa_nodes: tuple[NumaNode, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    nics: tuple[Nic, ...] = ()
    nvswitches: tuple[NvSwitch, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """All devices that are not bridges."""
        return (*self.gpus, *self.nics, *self.nvswitches)


def is_gpu(device: PciDevice) -> bool:
    """Whether a device is a GPU of NVIDIA's."""
    return _is_nvidia(device) and device.kind[:4] in DISPLAYS


def is_nvswitch(device: PciDevice) -> bool:
    """Whether a device is an NVSwitch."""
    return _is_nvidia(device) and device.kind[:4] == OTHER_BRIDGE


def is_nic(device: PciDevice) -> bool:
    """Whether a device is a network adapter, by its class or what its driver has made of it."""
    return device.kind[:4] in NETWORKS or bool(device.interfaces or device.rdma_devices)


def bridges(devices: list[PciDevice], leaves: tuple[Leaf, ...]) -> tuple[Bridge, ...]:
    """List the bridges on the way to any of the leaves."""
    above = {address for leaf in leaves for address in leaf.device.path[1:]}
    places = {device.address: device for device in devices}
    roles: dict[str, str] = {}
    for device in sorted(devices, key=lambda device: len(device.path)):
        if device.kind[:4] == BRIDGE:
            roles[device.address] = _role(device, devices, roles)
    return tuple(
        Bridge(device=places[address], role=roles.get(address, PCI_BRIDGE))
        for address in places
        if address in above
    )


def _role(device: PciDevice, devices: list[PciDevice], roles: dict[str, str]) -> str:
    """Tell a bridge's role by its place; those of the bridges above it are told before.

    Its configuration space says it, too, but to read that wakes the device.
    """
    if len(device.path) <= 1:
        return ROOT_PORT
    if roles.get(device.path[-1]) == SWITCH:
        return SWITCH_PORT
    has_ports = any(
        other.kind[:4] == BRIDGE and other.path[-1:] == (device.address,) for other in devices
    )
    return SWITCH if has_ports else PCI_BRIDGE


def _is_nvidia(device: PciDevice) -> bool:
    return device.ids.partition(":")[0] == VENDOR.removeprefix("0x")
