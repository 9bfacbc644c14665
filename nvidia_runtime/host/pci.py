# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's GPUs on the PCI bus as the kernel lists them, whichever driver has them.

Reading these files wakes no GPU.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nvidia_runtime.host import root as driver_root

DEVICES = "/sys/bus/pci/devices"
VENDOR = "0x10de"
# VGA controllers and 3D controllers, as the class of a PCI device begins.
DISPLAY_CLASSES = ("0x0300", "0x0302")
# Of a file; the longest are lists of CPUs.
LONGEST = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PciGpu:
    """A GPU on the bus: its address, its device id, and the kernel driver that has it, if any."""

    address: str
    device: int
    driver: str

    @property
    def has_display(self) -> bool:
        """Whether it is a VGA controller, which a screen may hang on."""
        return text(f"{DEVICES}/{self.address}/class").startswith(DISPLAY_CLASSES[0])


def addresses(kernel_root: str = "") -> list[str]:
    """Return the addresses of all GPUs, virtual functions included."""
    folder = kernel_root + DEVICES
    return [
        name
        for name in driver_root.names(folder)
        if text(f"{folder}/{name}/vendor") == VENDOR
        and text(f"{folder}/{name}/class").startswith(DISPLAY_CLASSES)
    ]


def gpus(kernel_root: str = "") -> list[PciGpu]:
    """Return the GPUs that are no virtual functions of another one."""
    folder = kernel_root + DEVICES
    return [
        PciGpu(
            address=address,
            device=_number(text(f"{folder}/{address}/device")),
            driver=name_of_link(f"{folder}/{address}/driver"),
        )
        for address in addresses(kernel_root)
        if not os.path.lexists(f"{folder}/{address}/physfn")
    ]


def name_of_link(path: str) -> str:
    """Return the name of what a link leads to, such as that of a driver, "" without a link."""
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return ""


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def text(path: str) -> str:
    """Read the line of a file, "" if it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(LONGEST).strip()
    except OSError:
        return ""
