# SPDX-License-Identifier: Apache-2.0
"""PCI devices and NUMA nodes as /sys shows them: Documentation/ABI/testing/sysfs-bus-pci.

Nothing here wakes a device: of one that sleeps no link is read, for which the kernel would.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

DEVICES = "/sys/bus/pci/devices"
NODES = "/sys/devices/system/node"
# Domain, bus, device and function; domains of more than four digits are those of Intel's VMD.
ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
ROOT_BUS = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")
NODE = re.compile(r"node([0-9]{1,6})")
HEXADECIMAL = re.compile(r"0x([0-9a-f]{4,6})")
SPEED = re.compile(r"[0-9]{1,3}(\.[0-9])? GT/s")
WIDTHS = ("1", "2", "4", "8", "12", "16", "32")
MOST_TEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaNode:
    """A NUMA node; ``cpus`` is a list as "0-3,8-11", "" if it has memory only."""

    number: int
    cpus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """A PCI device or bridge; what is not known is "" or -1.

    ``path`` is the way to it: the root bus, then bridges.  ``kind`` is its class in hexadecimal
    digits, ``ids`` are vendor and device.  ``virtual_functions`` is their number; they are not
    listed by themselves.
    """

    address: str
    path: tuple[str, ...] = ()
    kind: str = ""
    ids: str = ""
    numa_node: int = -1
    cpus: str = ""
    driver: str = ""
    link: str = ""
    is_asleep: bool = False
    interfaces: tuple[str, ...] = ()
    rdma_devices: tuple[str, ...] = ()
    virtual_functions: int = 0


def numa_nodes(root: str = "") -> list[NumaNode]:
    """List the NUMA nodes; none where the kernel knows of none."""
    numbers = [int(match[1]) for name in _names(root + NODES) if (match := NODE.fullmatch(name))]
    folder = root + NODES
    return [
        NumaNode(number=number, cpus=_text(f"{folder}/node{number}/cpulist"))
        for number in sorted(numbers)
    ]


def pci_devices(root: str = "") -> list[PciDevice]:
    """List the PCI devices, in the order of their addresses."""
    addresses = [name for name in _names(root + DEVICES) if ADDRESS.fullmatch(name)]
    folders = {address: f"{root}{DEVICES}/{address}" for address in sorted(addresses, key=order)}
    return [
        _device(address, folder)
        for address, folder in folders.items()
        if not os.path.lexists(f"{folder}/physfn")  # a virtual function
    ]


def order(address: str) -> tuple[int, str]:
    """Return what addresses are sorted by: longer domains are greater."""
    return len(address), address


def _device(address: str, folder: str) -> PciDevice:
    is_asleep = _text(f"{folder}/power/runtime_status") == "suspended"
    names = _names(folder)
    # An adapter of virtio has its interface one folder deeper.
    places = [folder, *(f"{folder}/{name}" for name in names if name.startswith("virtio"))]
    return PciDevice(
        address=address,
        path=_path(folder),
        kind=_hexadecimal(f"{folder}/class"),
        ids=f"{_hexadecimal(f'{folder}/vendor')}:{_hexadecimal(f'{folder}/device')}".strip(":"),
        numa_node=_number(f"{folder}/numa_node"),
        cpus=_text(f"{folder}/local_cpulist"),
        driver=os.path.basename(_target(f"{folder}/driver")),
        link="" if is_asleep else _link(folder),
        is_asleep=is_asleep,
        interfaces=tuple(name for place in places for name in _names(f"{place}/net")),
        rdma_devices=tuple(_names(f"{folder}/infiniband")),
        virtual_functions=sum(name.startswith("virtfn") for name in names),
    )


def _path(folder: str) -> tuple[str, ...]:
    """Return the root bus of a device, and the bridges above it, by the link to its folder.

    Below some bridges there is another root bus, with a domain of its own: the last one counts.
    """
    parts = _target(folder).split("/")[:-1]
    roots = [number for number, part in enumerate(parts) if ROOT_BUS.fullmatch(part)]
    if not roots:
        return ()
    return (parts[roots[-1]], *filter(ADDRESS.fullmatch, parts[roots[-1] + 1 :]))


def _link(folder: str) -> str:
    """Return the speed and width of a link as it is now, as "32 GT/s x16"."""
    speed = _text(f"{folder}/current_link_speed").removesuffix(" PCIe")
    width = _text(f"{folder}/current_link_width")
    if not SPEED.fullmatch(speed) or width not in WIDTHS:
        return ""  # "Unknown", and 0 or 255 lanes
    return f"{speed.replace('.0 ', ' ')} x{width}"


def _hexadecimal(path: str) -> str:
    match = HEXADECIMAL.fullmatch(_text(path))
    return match[1] if match else ""


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else -1


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _names(folder: str) -> list[str]:
    """List a folder, one that is not there or cannot be read as empty."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_TEXT).strip()
    except OSError:
        return ""
