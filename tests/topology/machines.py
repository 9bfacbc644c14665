# SPDX-License-Identifier: Apache-2.0
"""Machines for these tests: simulated ones, and folders with a /sys of a few devices."""

from __future__ import annotations

import os
from pathlib import Path

import simulated

from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.tree import CharacterDevice, Folder, Symlink, Tree
from nvidia_runtime.topology import find
from nvidia_runtime.topology.devices import Topology

BUS = "/sys/bus/pci/devices"
GPU, NETWORK, BRIDGE, STORAGE = "0x030200", "0x020000", "0x060400", "0x010802"


def of_simulated(name: str) -> Topology:
    """Return the topology of a simulated machine."""
    folder = os.fspath(simulated.machine(name))
    return find.topology(Machine(Driver(folder), kernel_root=folder))


def of_files(files: Tree, folder: Path) -> Topology:
    """Return the topology of a machine that is made of files, in a new folder."""
    root = os.fspath(folder / "machine")
    trees.create(files or {"/sys": Folder()}, root)
    return find.topology(Machine(Driver(root), kernel_root=root))


def device(path: str, kind: str = GPU, vendor: str = "0x10de", **more: str) -> Tree:
    """Return a device's files; ``path`` is its place below /sys/devices."""
    folder = f"/sys/devices/{path}"
    facts = {"class": kind, "vendor": vendor, "device": "0x1234", "numa_node": "0", **more}
    files: Tree = {f"{folder}/{name}": trees.text(f"{said}\n") for name, said in facts.items()}
    link = Symlink(f"../../../devices/{path}")
    return {f"{BUS}/{path.rpartition('/')[2]}": link, **files}


def of_driver(address: str, **more: str) -> Tree:
    """Return what the driver says of a GPU, and its node."""
    facts = {
        "Model": "Tesla",
        "GPU UUID": "GPU-1",
        "Bus Location": address,
        "Device Minor": "0",
        **more,
    }
    said = "".join(f"{name}: \t {fact}\n" for name, fact in facts.items())
    node: Tree = {}
    if os.geteuid() == 0:
        node = {"/dev/nvidia0": CharacterDevice(195, 0)}
    return {f"/proc/driver/nvidia/gpus/{address}/information": trees.text(said), **node}


def nodes(*cpus: str) -> Tree:
    """Return the files of NUMA nodes with these CPUs."""
    folder = "/sys/devices/system/node/node"
    return {f"{folder}{number}/cpulist": trees.text(f"{one}\n") for number, one in enumerate(cpus)}
