# SPDX-License-Identifier: Apache-2.0
"""The files of Jetson Linux: libraries, and the lists of what containers get."""

from __future__ import annotations

from nvidia_runtime.simulate import cuda, elf, programs
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, File, Folder, Symlink, Tree, text

LISTS = "/etc/nvidia-container-runtime/host-files-for-container.d"
RELEASE = "# R36 (release), REVISION: 4.0, GCID: 0, BOARD: generic, EABI: aarch64\n"
DEVICES = (
    *("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvmap", "/dev/nvhost-gpu"),
    *("/dev/nvhost-ctrl-gpu", "/dev/nvgpu/igpu0/ctrl", "/dev/dri/card*", "/dev/dri/renderD*"),
    "/dev/absent0",
)
NODES = ("nvmap", "nvhost-gpu", "nvhost-ctrl-gpu", "nvgpu/igpu0/ctrl")
BY_PATH = "/dev/dri/by-path/platform-13800000.display-card"
VIDEO = 44


def tree(machine: SimulatedMachine, nvml: bytes) -> Tree:
    """List the files of a Jetson's driver; ``nvml`` is the simulated NVML."""
    folder, parent = machine.library_folder, machine.library_folder.rpartition("/")[0]
    compiler = f"libnvidia-ptxjitcompiler.so.{machine.driver}"

    def library(soname: str) -> File:
        return File(elf.shared_object(soname, machine.architecture))

    return {
        f"{folder}/libnvidia-ml.so.1": File(nvml),
        f"{folder}/libcuda.so.1.1": File(cuda.library(machine)),
        f"{folder}/libcuda.so.1": Symlink("libcuda.so.1.1"),
        f"{folder}/libcuda.so": Symlink("libcuda.so.1.1"),
        f"{folder}/{compiler}": library("libnvidia-ptxjitcompiler.so.1"),
        f"{folder}/libnvidia-ptxjitcompiler.so.1": Symlink(compiler),
        f"{folder}/libnvrm_gpu.so": library("libnvrm_gpu.so"),
        f"{folder}/libnvos.so": library("libnvos.so"),
        f"{parent}/libcuda.so": Symlink("nvidia/libcuda.so"),
        "/usr/sbin/nvidia-smi": programs.smi(machine),
        "/etc/nv_tegra_release": text(RELEASE),
        "/etc/ld.so.conf.d/nvidia-tegra.conf": text(f"{folder}\n"),
        "/usr/share/nvidia-tegra": Folder(),
        f"{LISTS}/devices.csv": text(_device_rows()),
        f"{LISTS}/drivers.csv": text(_driver_rows(machine)),
    }


def nodes(machine: SimulatedMachine) -> Tree:
    """List the device nodes of the SoC, its display included."""
    majors = machine.majors
    files: Tree = {
        f"/dev/{name}": CharacterDevice(majors.tegra, minor, 0o660, VIDEO)
        for minor, name in enumerate(NODES)
    }
    files["/dev/dri/card0"] = CharacterDevice(majors.drm, 0, 0o660, VIDEO)
    files["/dev/dri/renderD128"] = CharacterDevice(majors.drm, 128, 0o660, VIDEO)
    files[BY_PATH] = Symlink("../card0")
    return files


def _device_rows() -> str:
    return "".join(f"dev, {path}\n" for path in DEVICES) + "dir, /dev/dri/by-path\n"


def _driver_rows(machine: SimulatedMachine) -> str:
    folder, parent = machine.library_folder, machine.library_folder.rpartition("/")[0]
    compiler = f"libnvidia-ptxjitcompiler.so.{machine.driver}"
    libraries = ("libcuda.so.1.1", "libnvidia-ml.so.1", compiler, "libnvrm_gpu.so", "libnvos.so")
    rows = [f"lib, {folder}/{name}" for name in (*libraries, "libabsent.so")]
    rows += [f"sym, {folder}/{name}" for name in ("libcuda.so.1", "libcuda.so")]
    rows += [f"sym, {parent}/libcuda.so", "dir, /usr/share/nvidia-tegra"]
    return "".join(f"{row}\n" for row in rows)
