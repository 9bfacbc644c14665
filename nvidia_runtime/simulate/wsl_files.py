# SPDX-License-Identifier: Apache-2.0
"""What Windows shares with its Subsystem for Linux: dxcore and a driver store."""

from __future__ import annotations

import platform

from nvidia_runtime.simulate import compiler, cuda, elf, programs
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, File, Tree, text

LIBRARIES = "/usr/lib/wsl/lib"
STORES = "/usr/lib/wsl/drivers"
STORED = (
    *("libcuda_loader.so", "libnvidia-ptxjitcompiler.so.1", "libnvidia-ml_loader.so"),
    *("libnvdxgdmal.so.1", "libnvwgf2umx.so"),
)


def tree(machine: SimulatedMachine, nvml: bytes) -> Tree:
    """List what is mounted from Windows; ``nvml`` is the simulated NVML."""
    files: Tree = {
        f"{LIBRARIES}/libdxcore.so": _dxcore(machine),
        f"{LIBRARIES}/libcuda.so.1": File(cuda.library(machine)),
        f"{LIBRARIES}/libnvidia-ml.so.1": File(nvml),
        f"{LIBRARIES}/nvidia-smi": programs.smi(machine),
        "/etc/ld.so.conf.d/ld.wsl.conf": text(f"{LIBRARIES}\n"),
    }
    for store in stores(machine):
        files |= {
            f"{store}/libnvidia-ml.so.1": File(nvml),
            f"{store}/nvidia-smi": programs.smi(machine),
            f"{store}/nvcubins.bin": File(bytes(16)),
            f"{store}/nvdxgdmal64.dll": File(bytes(16)),
            **{f"{store}/{name}": _library(machine, name) for name in STORED},
            f"{store}/libcuda.so.1.1": File(cuda.library(machine)),
        }
    return files


def stores(machine: SimulatedMachine) -> list[str]:
    """List the folders of the drivers of Windows, in the order of its adapters."""
    return [f"{STORES}/{name}" for name in machine.stores]


def nodes(machine: SimulatedMachine) -> Tree:
    """List the device node."""
    return {"/dev/dxg": CharacterDevice(machine.majors.dxg, 125)}


def _dxcore(machine: SimulatedMachine) -> File:
    """Make the library that knows where the driver is; without code where that is asked for."""
    if machine.faults.without_code:
        return File(elf.shared_object("libdxcore.so", platform.machine()))
    texts = ",".join(f'L"{store}"' for store in stores(machine))
    return File(compiler.library("mock_dxcore.c", f"-DSTORES={texts}"))


def _library(machine: SimulatedMachine, soname: str) -> File:
    return File(elf.shared_object(soname, machine.architecture))
