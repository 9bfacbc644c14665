# SPDX-License-Identifier: Apache-2.0
"""From a machine to all the files that it has."""

from __future__ import annotations

import dataclasses

from nvidia_runtime.simulate import (
    device_nodes,
    driver_files,
    kernel_files,
    nvml,
    placed,
    programs,
    tegra_files,
    wsl_files,
)
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import Tree

# The folders of CDI specs and of our state: a simulated machine begins with empty ones.
PRIVATE = ("/etc/cdi", "/run/cdi", "/run/nvidia-container-runtime")
HERE = "/run/nvidia-simulated-machine"


def driver_root(machine: SimulatedMachine) -> Tree:
    """List what the driver has put below its root, device nodes included."""
    library = nvml.carrying(machine)
    kinds = {"pci": driver_files.tree, "tegra": tegra_files.tree, "wsl": wsl_files.tree}
    settings = trees.text(nvml.settings(machine))
    files = kinds[machine.kind](machine, library)
    files |= {machine.nvml_settings: settings} | programs.tree(machine)
    files |= device_nodes.tree(machine)
    return placed.changed(files, machine, is_kernel=False)


def without_code(machine: SimulatedMachine) -> Tree:
    """List the same, with libraries that take no compiler and have no functions."""
    bare = dataclasses.replace(machine.faults, without_code=True)
    return driver_root(dataclasses.replace(machine, faults=bare))


def kernel(machine: SimulatedMachine) -> Tree:
    """List what is in /proc and /sys."""
    files = kernel_files.tree(machine, _read(kernel_files.DEVICES), _read(kernel_files.BOOT_ID))
    return placed.changed(files, machine, is_kernel=True)


def marks(machine: SimulatedMachine) -> Tree:
    """List the files that tell a command that its machine is simulated, and how to change it."""
    return {
        f"{HERE}/name": trees.text(f"{machine.name}\n"),
        f"{HERE}/mock-nvml.conf": trees.Symlink(machine.nvml_settings),
    }


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
