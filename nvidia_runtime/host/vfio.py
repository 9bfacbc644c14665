# SPDX-License-Identifier: Apache-2.0
"""GPUs that virtual machines may have, by vfio-pci: what /sys says of them, and their nodes.

No driver of NVIDIA's has them, so NVML knows nothing of them.  See the kernel's
Documentation/driver-api/vfio.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nvidia_runtime.host import nodes, pci
from nvidia_runtime.host import root as driver_root

DRIVER = "vfio-pci"
FOLDER = "/dev/vfio"
# What a program needs beside the node of a group, or beside that of a device.
CONTAINER = f"{FOLDER}/vfio"
IOMMUFD = "/dev/iommu"
# May share a group with a GPU: bridges, which no driver has to give away.
BRIDGE_CLASS = "0x06"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassthroughGpu:
    """A GPU on the bus; ``index`` is its place among all GPUs of NVIDIA's, by address.

    ``group`` is that of its IOMMU, "" without one, ``device`` the kernel's name for it as a device
    of its own (since Linux 6.6), "" if there is none.
    """

    index: int
    address: str
    driver: str
    group: str
    device: str

    def is_free(self) -> bool:
        """Whether a virtual machine may have it."""
        return self.driver == DRIVER


def find(kernel_root: str = "") -> list[PassthroughGpu]:
    """List all GPUs, whichever driver has them; virtual functions of others are left out."""
    return [
        PassthroughGpu(
            index=index,
            address=gpu.address,
            driver=gpu.driver,
            group=pci.name_of_link(f"{kernel_root}{pci.DEVICES}/{gpu.address}/iommu_group"),
            device=next(iter(_devices(kernel_root, gpu.address)), ""),
        )
        for index, gpu in enumerate(pci.gpus(kernel_root))
    ]


def node_paths(gpu: PassthroughGpu, dev_root: str) -> tuple[str, str]:
    """Return the node of a GPU, and the one that goes with it; "" if there is neither of its own.

    That of its group comes first: all programs know it, and Kata must not get both.
    """
    group, device = f"{FOLDER}/{gpu.group}", f"{FOLDER}/devices/{gpu.device}"
    if gpu.group and nodes.read(dev_root, group):
        return group, CONTAINER
    if gpu.device and nodes.read(dev_root, device):
        return device, IOMMUFD
    return "", ""


def in_use(gpu: PassthroughGpu, kernel_root: str = "") -> list[str]:
    """Return the other devices of its group that a driver of this host has.

    A virtual machine cannot have the GPU until they are given away too, such as its sound.
    """
    folder = f"{kernel_root}{pci.DEVICES}"
    others = [name for name in driver_root.names(folder) if name != gpu.address]
    return [
        f"{name} ({driver})"
        for name in others
        if gpu.group
        and pci.name_of_link(f"{folder}/{name}/iommu_group") == gpu.group
        and not pci.text(f"{folder}/{name}/class").startswith(BRIDGE_CLASS)
        and (driver := pci.name_of_link(f"{folder}/{name}/driver")) not in ("", DRIVER)
    ]


def _devices(kernel_root: str, address: str) -> list[str]:
    return driver_root.names(os.path.join(f"{kernel_root}{pci.DEVICES}", address, "vfio-dev"))
