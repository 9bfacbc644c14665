# SPDX-License-Identifier: Apache-2.0
"""The simulated libcuda answers by the nodes that it sees, and by the machine's faults."""

from __future__ import annotations

import platform
import sys
from typing import Any

import pytest
import simulated

LOOK = """
import ctypes
cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
print(cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(count)), count.value)
"""


def look(machine: str, fault: str = "", **options: Any) -> str:
    """Start CUDA on a machine; return its result, that of counting, and the number of GPUs."""
    script = f'{fault}\nexec "$@"'
    words = ["sh", "-euc", script, "sh", sys.executable, "-ISc", LOOK]
    got = simulated.run(machine, words, **options)
    assert (got.stderr, got.returncode) == ("", 0)
    return got.stdout.strip()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its machines are of x86-64")
@pytest.mark.parametrize(
    ("machine", "fault", "options", "said"),
    [
        pytest.param("t4x1", "", {}, "0 0 1", id="one GPU"),
        pytest.param("a100x8", "", {}, "0 0 8", id="eight GPUs"),
        pytest.param("wsl2", "", {}, "0 0 1", id="WSL"),
        pytest.param("t4x1", "rm /dev/nvidia0", {}, "100 0 0", id="no GPU's node"),
        pytest.param("t4x1", "rm /dev/nvidiactl", {}, "100 0 0", id="no nvidiactl"),
        pytest.param("t4x1", "rm /dev/nvidia-uvm", {}, "999 0 1", id="no nvidia-uvm"),
        pytest.param("t4x1", "", {"mismatch": True}, "803 3 0", id="another module"),
        pytest.param("t4x1", "", {"fail": ["cuInit:802"]}, "802 3 0", id="as asked"),
    ],
)
def test_answers(machine: str, fault: str, options: dict[str, Any], said: str) -> None:
    assert look(machine, fault, **options) == said
