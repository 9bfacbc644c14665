# SPDX-License-Identifier: Apache-2.0
"""The simulated libcuda: what devices it has, by the nodes that it sees, or a fault."""

from __future__ import annotations

import platform
import struct

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import compiler, elf, nvml
from nvidia_runtime.simulate.machine import SimulatedMachine

SOURCE = "mock_cuda.c"
SONAME = "libcuda.so.1"
MARK = b"mock_cuda:cuInit"
FUNCTION = "cuInit"
NO_DEVICE, MISMATCH = 100, 803
# As in mock_cuda.c: it does not answer at all.
CRASH, HANG = -1, -2


def library(machine: SimulatedMachine) -> bytes:
    """Return the library; without code where that is asked for, or for another architecture."""
    if machine.faults.without_code or machine.architecture != platform.machine():
        return elf.shared_object(SONAME, machine.architecture)
    image = compiler.library(SOURCE, f"-Wl,-soname,{SONAME}")
    before, mark, after = image.partition(MARK)
    if not mark:
        raise NvidiaRuntimeError("the simulated libcuda has no place for its answer", SOURCE)
    answering = before + mark + struct.pack("=i", _result(machine)) + after[4:]
    return answering + nvml.carried(machine)


def _result(machine: SimulatedMachine) -> int:
    if FUNCTION in machine.faults.crash:
        return CRASH
    if FUNCTION in machine.faults.hang:
        return HANG
    for word in machine.faults.fail:
        function, _, result = word.partition(":")
        if function == FUNCTION:
            return int(result)
    if not machine.loaded:
        return NO_DEVICE
    return MISMATCH if machine.module_version != machine.driver else 0
