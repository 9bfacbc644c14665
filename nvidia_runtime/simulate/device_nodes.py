# SPDX-License-Identifier: Apache-2.0
"""The device nodes of a machine's GPUs and of what belongs to them."""

from __future__ import annotations

from nvidia_runtime.simulate import capabilities, tegra_files, wsl_files
from nvidia_runtime.simulate.machine import SimulatedGpu, SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, Symlink, Tree

VIDEO, RENDER = 44, 109
NVSWITCH_CONTROL = 255
VFIO = "vfio-pci"


def tree(machine: SimulatedMachine) -> Tree:
    """List the nodes below /dev."""
    if not machine.loaded:
        return {}
    if machine.kind == "wsl":
        return wsl_files.nodes(machine)
    files = tegra_files.nodes(machine) if machine.kind == "tegra" else {}
    files |= _gpus(machine) | _control(machine) | _extras(machine) | _vfio(machine)
    return files | _by_numbers(files)


def _gpus(machine: SimulatedMachine) -> Tree:
    majors = machine.majors
    minors = [gpu.minor for gpu in machine.own_gpus]
    if machine.kind == "tegra" and len(minors) > 1:
        minors.append(len(minors))  # the SoC's own GPU has a second node then
    files: Tree = {f"/dev/nvidia{minor}": CharacterDevice(majors.nvidia, minor) for minor in minors}
    for gpu in machine.own_gpus:
        files |= _drm(gpu, majors.drm)
    return files


def _by_numbers(files: Tree) -> Tree:
    """List the links in /dev/char to the driver's nodes, which systemd finds them by."""
    return {
        f"/dev/char/{node.major}:{node.minor}": Symlink(f"..{path.removeprefix('/dev')}")
        for path, node in files.items()
        if isinstance(node, CharacterDevice) and path.startswith("/dev/nvidia")
    }


def _drm(gpu: SimulatedGpu, major: int) -> Tree:
    if gpu.card < 0:
        return {}
    card, render = f"card{gpu.card}", f"renderD{gpu.render}"
    return {
        f"/dev/dri/{card}": CharacterDevice(major, gpu.card, 0o660, VIDEO),
        f"/dev/dri/{render}": CharacterDevice(major, gpu.render, 0o660, RENDER),
        f"/dev/dri/by-path/pci-{gpu.bus_id}-card": Symlink(f"../{card}"),
        f"/dev/dri/by-path/pci-{gpu.bus_id}-render": Symlink(f"../{render}"),
    }


def _control(machine: SimulatedMachine) -> Tree:
    majors = machine.majors
    files: Tree = {
        "/dev/nvidiactl": CharacterDevice(majors.nvidia, 255),
        "/dev/nvidia-modeset": CharacterDevice(majors.nvidia, 254),
    }
    if any(gpu.bus_id for gpu in machine.gpus):
        files["/dev/nvidia-uvm"] = CharacterDevice(majors.uvm, 0)
        files["/dev/nvidia-uvm-tools"] = CharacterDevice(majors.uvm, 1)
    if capabilities.has(machine):
        files |= {
            f"/dev/nvidia-caps/nvidia-cap{minor}": CharacterDevice(majors.caps, minor, mode)
            for minor, mode in capabilities.nodes(machine).items()
        }
    return files


def _vfio(machine: SimulatedMachine) -> Tree:
    """List the nodes of groups of devices that virtual machines may have."""
    board = machine.board
    groups = {one.iommu_group for one in board.devices if one.driver == VFIO} if board else set()
    files: Tree = {
        f"/dev/vfio/{group}": CharacterDevice(machine.majors.vfio, number, 0o600)
        for number, group in enumerate(sorted(groups))
    }
    return files | {"/dev/vfio/vfio": CharacterDevice(10, 196)} if files else {}


def _extras(machine: SimulatedMachine) -> Tree:
    majors = machine.majors
    if machine.is_container:
        return {}
    files: Tree = {
        f"/dev/nvidia-nvswitch{number}": CharacterDevice(majors.nvswitch, number)
        for number in range(machine.nvswitches)
    }
    if machine.nvswitches:
        files["/dev/nvidia-nvswitchctl"] = CharacterDevice(majors.nvswitch, NVSWITCH_CONTROL)
        files["/dev/nvidia-nvlink"] = CharacterDevice(majors.nvswitch - 1, 0)
    for channel in machine.imex_channels:
        files[f"/dev/nvidia-caps-imex-channels/channel{channel}"] = CharacterDevice(
            majors.imex, channel
        )
    if machine.has_gdrcopy:
        files["/dev/gdrdrv"] = CharacterDevice(majors.gdrcopy, 0)
    for number in range(machine.gds_nodes):
        files[f"/dev/nvidia-fs{number}"] = CharacterDevice(majors.gds, number)
    if machine.has_mofed:
        for number in range(2):
            files[f"/dev/infiniband/uverbs{number}"] = CharacterDevice(
                majors.infiniband, 192 + number
            )
        files["/dev/infiniband/rdma_cm"] = CharacterDevice(10, 122)
    return files
