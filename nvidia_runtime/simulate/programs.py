# SPDX-License-Identifier: Apache-2.0
"""The programs of a simulated machine: nvidia-smi, deviceQuery, and those that say nothing."""

from __future__ import annotations

from nvidia_runtime.simulate import compiler
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import File, Tree, text

SMI = "mock_smi.c"
# Where NVIDIA's package cuda-demo-suite has its own.
DEVICE_QUERY = "/usr/local/cuda/extras/demo_suite/deviceQuery"


def smi(machine: SimulatedMachine) -> File:
    """Return nvidia-smi; where no code is wanted, it says nothing."""
    if machine.faults.without_code:
        return silent()
    return File(compiler.program(SMI), 0o755)


def tree(machine: SimulatedMachine) -> Tree:
    """List the programs that are not the driver's, of a user of CUDA."""
    if machine.faults.without_code:
        return {}
    return {DEVICE_QUERY: File(compiler.program("mock_device_query.c"), 0o755)}


def silent() -> File:
    """Return a program that does nothing, and succeeds."""
    return text("#!/bin/sh\nexit 0\n", 0o755)
