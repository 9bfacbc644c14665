# SPDX-License-Identifier: Apache-2.0
"""From a machine to all the files that it has.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.simulate import (
    device_nodes,
    driver_files,
    kernel_files,
    nvml,
    tegra_files,
    wsl_files,
)
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.machine import Machine
from nvidia_runtime.simulate.tree import Tree

# Where CDI specs and what we remember are: a simulated machine begins without any.
PRIVATE = ("/etc/cdi", "/run/cdi", "/run/nvidia-container-runtime")
HERE = "/run/nvidia-simulated-machine"


def driver_root(machine: Machine) -> Tree:
    """List what the driver has put below its root, device nodes included."""
    library = nvml.library(machine.faults)
    kinds = {"pci": driver_files.tree, "tegra": tegra_files.tree, "wsl": wsl_files.tree}
    settings = trees.text(nvml.settings(machine))
    files = kinds[machine.kind](machine, library)
    return files | {machine.nvml_settings: settings} | device_nodes.tree(machine)


def kernel(machine: Machine) -> Tree:
    """List what is in /proc and /sys."""
    return kernel_files.tree(machine, _read(kernel_files.DEVICES), _read(kernel_files.BOOT_ID))


def marks(machine: Machine) -> Tree:
    """List what tells a command that it runs on a simulated machine, and where to change it."""
    return {
        f"{HERE}/name": trees.text(f"{machine.name}\n"),
        f"{HERE}/mock-nvml.conf": trees.Link(machine.nvml_settings),
    }


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
