# SPDX-License-Identifier: Apache-2.0
"""What a machine has, so that it can be simulated: GPUs as NVML tells, the PCI bus, libraries."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import ldcache, mig, pci
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine

if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Gpu, Mig

# Seconds for one GPU, and for all.
PATIENCE, LIMIT = 5.0, 15.0
MOST_DEVICES = 1000
LIBRARIES = re.compile(r"nvidia|nvoptix|libnv|libcuda")
# What is in a folder of the driver's, wherever it is.
MAIN = re.compile(r"/(libcuda\.so|libnvidia-ml\.so|libGLX_nvidia\.so)")
NODES = "/sys/devices/system/node"


def gpus(root: str) -> dict[str, Any]:
    """Return what NVML says of the GPUs, or why it says nothing, and the instances of MIG."""
    document: dict[str, Any] = {"capabilities": mig.accesses("")}
    machine = Machine(Driver(root), patience=PATIENCE)
    machine.limit = LIMIT
    try:
        inventory = machine.nvml()
    except NvidiaRuntimeError as error:
        return {"problem": str(error), **document}
    return {
        "driver": inventory.driver,
        "cuda": inventory.cuda,
        "gpus": [_gpu(gpu) for gpu in inventory.gpus],
        **document,
    }


def _gpu(gpu: Gpu) -> dict[str, Any]:
    facts = {name: getattr(gpu, name) for name in gpu.__slots__ if name != "migs"}
    return {**facts, "migs": [_mig(device) for device in gpu.migs]}


def _mig(device: Mig) -> dict[str, Any]:
    return {name: getattr(device, name) for name in device.__slots__}


def bus() -> dict[str, Any]:
    """Return the NUMA nodes and the PCI devices with the bridges above them; no GPU is woken."""
    nodes = {
        name.removeprefix("node"): pci.text(f"{NODES}/{name}/cpulist")
        for name in driver_root.names(NODES)
        if re.fullmatch(r"node\d+", name)
    }
    addresses = driver_root.names(pci.DEVICES)[:MOST_DEVICES]
    return {"nodes": nodes, "devices": [_device(address) for address in sorted(addresses)]}


def _device(address: str) -> dict[str, Any]:
    folder = f"{pci.DEVICES}/{address}"
    above = os.path.realpath(folder).split("/")[:-1]
    return {
        "address": address,
        "above": [name for name in above if re.fullmatch(r"[0-9a-f:]+\.\d", name)],
        "ids": ":".join(pci.text(f"{folder}/{name}")[2:] for name in ("vendor", "device")),
        "kind": pci.text(f"{folder}/class"),
        "driver": pci.name_of_link(f"{folder}/driver"),
        "iommu_group": pci.name_of_link(f"{folder}/iommu_group"),
        "node": pci.text(f"{folder}/numa_node"),
        "link": pci.text(f"{folder}/current_link_speed"),
        "width": pci.text(f"{folder}/current_link_width"),
        "drm": sorted(driver_root.names(f"{folder}/drm")),
    }


def libraries(root: str) -> str:
    """Return a line for each of the driver's libraries: its path, and where a link leads."""
    installed = Driver(root)
    try:
        listings = installed.listings()
        cached = map(os.path.dirname, filter(MAIN.search, ldcache.paths(root)))
    except NvidiaRuntimeError as error:
        return f"{error}\n"
    folders = dict(listings)
    for folder in sorted(set(cached)):
        there = driver_root.join(root, folder)
        if not any(os.path.realpath(there) == os.path.realpath(one) for one in folders):
            folders[there] = driver_root.names(there)
    return "".join(
        _line(driver_root.join(folder, f"/{name}"))
        for folder, names in folders.items()
        for name in sorted(names)
        if LIBRARIES.search(name) and ".so" in name
    )


def _line(path: str) -> str:
    try:
        return f"{path} -> {os.readlink(path)}\n"
    except OSError:
        return f"{path}\n"
