# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of its driver and the GPUs, in /proc and /sys."""

from __future__ import annotations

from nvidia_runtime.simulate import capabilities, pci_files
from nvidia_runtime.simulate.machine import SimulatedGpu, SimulatedMachine
from nvidia_runtime.simulate.tree import File, Folder, Tree, text

DRIVER = "/proc/driver/nvidia"
DEVICES = "/proc/devices"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MODULE = "/sys/module"
FAMILY = "/sys/devices/soc0/family"
# Folders that are covered as a whole, so that nothing of the host's is seen in them.
FOLDERS = ("/proc/driver", pci_files.BUS, MODULE)
# One in which the host's own entries stay beside ours: an overlay over sysfs cannot be mounted.
MERGED = pci_files.DEVICES
FILES = (DEVICES, BOOT_ID)
BLOCK = "\nBlock devices:"
LOADED = ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm")
# The driver makes no device nodes, as nothing does here.  A hook that keeps one from it looks for
# this file in the container's own /proc, which shows the kernel as it is.
PARAMETERS = (
    "ResmanDebugLevel: 4294967295\n"
    "ModifyDeviceFiles: 0\n"
    "DeviceFileUID: 0\n"
    "DeviceFileGID: 0\n"
    "DeviceFileMode: 438\n"
)


def tree(machine: SimulatedMachine, devices: str, boot_id: str) -> Tree:
    """List the files below /proc and /sys; ``devices`` and ``boot_id`` are the host's own texts."""
    files: Tree = {folder: Folder() for folder in FOLDERS}
    files[BOOT_ID] = text(boot_id)
    files[DEVICES] = text(devices)
    if machine.kind == "tegra":
        files[FAMILY] = text("Tegra\n")
    if not machine.loaded or machine.kind == "wsl":
        return files
    if not any(gpu.bus_id for gpu in machine.gpus):
        return files  # the GPU of a SoC has another kernel module
    files[DEVICES] = text(_with_majors(devices, _majors(machine)))
    files |= pci_files.tree(machine)
    return files | _driver(machine) | _modules(machine) | capabilities.tree(machine)


def _driver(machine: SimulatedMachine) -> Tree:
    files: Tree = {
        f"{DRIVER}/version": text(
            f"NVRM version: {_module_name(machine)}  "
            f"{machine.module_version}  Release Build  (builder@simulated)  "
            "Tue Sep 23 10:11:16 UTC 2025\nGCC version:  gcc version 12.3.0\n"
        ),
        f"{DRIVER}/params": text(PARAMETERS),
    }
    for gpu in machine.drivers_gpus:
        if gpu.bus_id:
            files[f"{DRIVER}/gpus/{gpu.bus_id}/information"] = _information(gpu, machine)
    return files


def _module_name(machine: SimulatedMachine) -> str:
    """Return what the module calls itself: that of guests with a part of a GPU is not open."""
    if machine.is_vgpu:
        return f"NVIDIA UNIX {machine.architecture} Kernel Module"
    return f"NVIDIA UNIX Open Kernel Module for {machine.architecture}"


def _information(gpu: SimulatedGpu, machine: SimulatedMachine) -> File:
    return text(
        f"Model: \t\t {gpu.name}\n"
        "IRQ:   \t\t 100\n"
        f"GPU UUID: \t {gpu.uuid}\n"
        f"Video BIOS: \t {gpu.vbios or '??.??.??.??.??'}\n"
        "Bus Type: \t PCIe\n"
        "DMA Size: \t 47 bits\n"
        "DMA Mask: \t 0x7fffffffffff\n"
        f"Bus Location: \t {gpu.bus_id}\n"
        f"Device Minor: \t {gpu.minor}\n"
        f"GPU Firmware: \t {machine.module_version}\n"
        "GPU Excluded:\t No\n"
    )


def _modules(machine: SimulatedMachine) -> Tree:
    version = text(f"{machine.module_version}\n")
    return {
        **{f"{MODULE}/{name}/version": version for name in LOADED},
        f"{MODULE}/nvidia/srcversion": text("0123456789ABCDEF\n"),
        f"{MODULE}/firmware_class/parameters/path": text("\n"),
    }


def _majors(machine: SimulatedMachine) -> dict[str, int]:
    majors = machine.majors
    numbers = {
        "nvidia": majors.nvidia,
        "nvidia-modeset": majors.nvidia,
        "nvidiactl": majors.nvidia,
        "nvidia-uvm": majors.uvm,
    }
    if capabilities.has(machine):
        numbers |= {"nvidia-caps": majors.caps, "nvidia-caps-imex-channels": majors.imex}
    if machine.nvswitches:
        numbers["nvidia-nvswitch"] = majors.nvswitch
    return numbers


def _with_majors(devices: str, majors: dict[str, int]) -> str:
    """Add character devices to the text of /proc/devices."""
    characters, block, rest = devices.partition(BLOCK)
    rows = [
        f"{major:3d} {name}\n" for name, major in sorted(majors.items(), key=lambda row: row[1])
    ]
    return characters.rstrip("\n") + "\n" + "".join(rows) + block + rest
