# SPDX-License-Identifier: Apache-2.0
"""The device nodes of a machine's GPUs and of what comes with them.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.simulate import capabilities, tegra_files, wsl_files
from nvidia_runtime.simulate.machine import Gpu, Machine
from nvidia_runtime.simulate.tree import Link, Node, Tree

VIDEO, RENDER = 44, 109
NVSWITCH_CONTROL = 255


def tree(machine: Machine) -> Tree:
    """List the nodes below /dev."""
    if not machine.loaded:
        return {}
    if machine.kind == "wsl":
        return wsl_files.nodes(machine)
    found = tegra_files.nodes(machine) if machine.kind == "tegra" else {}
    return found | _gpus(machine) | _control(machine) | _extras(machine)


def _gpus(machine: Machine) -> Tree:
    majors = machine.majors
    minors = [gpu.minor for gpu in machine.gpus]
    if machine.kind == "tegra" and len(minors) > 1:
        minors.append(len(minors))  # the SoC's own GPU has a second node then
    found: Tree = {f"/dev/nvidia{minor}": Node(majors.nvidia, minor) for minor in minors}
    for gpu in machine.gpus:
        found |= _drm(gpu, majors.drm)
    return found


def _drm(gpu: Gpu, major: int) -> Tree:
    if gpu.card < 0:
        return {}
    card, render = f"card{gpu.card}", f"renderD{gpu.render}"
    return {
        f"/dev/dri/{card}": Node(major, gpu.card, 0o660, VIDEO),
        f"/dev/dri/{render}": Node(major, gpu.render, 0o660, RENDER),
        f"/dev/dri/by-path/pci-{gpu.bus_id}-card": Link(f"../{card}"),
        f"/dev/dri/by-path/pci-{gpu.bus_id}-render": Link(f"../{render}"),
    }


def _control(machine: Machine) -> Tree:
    majors = machine.majors
    found: Tree = {
        "/dev/nvidiactl": Node(majors.nvidia, 255),
        "/dev/nvidia-modeset": Node(majors.nvidia, 254),
    }
    if any(gpu.bus_id for gpu in machine.gpus):
        found["/dev/nvidia-uvm"] = Node(majors.uvm, 0)
        found["/dev/nvidia-uvm-tools"] = Node(majors.uvm, 1)
    if capabilities.has(machine):
        found |= {
            f"/dev/nvidia-caps/nvidia-cap{minor}": Node(majors.caps, minor, mode)
            for minor, mode in capabilities.nodes(machine).items()
        }
    return found


def _extras(machine: Machine) -> Tree:
    majors = machine.majors
    found: Tree = {
        f"/dev/nvidia-nvswitch{number}": Node(majors.nvswitch, number)
        for number in range(machine.nvswitches)
    }
    if machine.nvswitches:
        found["/dev/nvidia-nvswitchctl"] = Node(majors.nvswitch, NVSWITCH_CONTROL)
        found["/dev/nvidia-nvlink"] = Node(majors.nvswitch - 1, 0)
    for channel in machine.imex_channels:
        found[f"/dev/nvidia-caps-imex-channels/channel{channel}"] = Node(majors.imex, channel)
    if machine.has_gdrcopy:
        found["/dev/gdrdrv"] = Node(majors.gdrcopy, 0)
    for number in range(machine.gds_nodes):
        found[f"/dev/nvidia-fs{number}"] = Node(majors.gds, number)
    if machine.has_mofed:
        for number in range(2):
            found[f"/dev/infiniband/uverbs{number}"] = Node(majors.infiniband, 192 + number)
        found["/dev/infiniband/rdma_cm"] = Node(10, 122)
    return found
