# SPDX-License-Identifier: Apache-2.0
"""The simulated libcuda answers by the nodes that it sees, and by the machine's faults."""

from __future__ import annotations

import platform
import sys
from typing import Any

import pytest
import simulated

from nvidia_runtime.simulate import catalogue, programs

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="its machines are of x86-64")

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


def query(machine: str, script: str = "", **options: Any) -> tuple[int, list[str]]:
    """Run deviceQuery on a machine; return its exit code and its lines."""
    words = ["sh", "-euc", f"{script}\nexec {programs.DEVICE_QUERY}"]
    got = simulated.run(machine, words, **options)
    assert got.stderr == ""
    return got.returncode, [line.strip() for line in got.stdout.splitlines() if line]


SEVENTH = catalogue.find("a100x8mig").gpus[0].mig_devices[6].uuid
FOURTH = catalogue.find("a100x8mig").gpus[4].uuid


@pytest.mark.parametrize(
    ("machine", "script", "names"),
    [
        pytest.param("t4x1", "", ["Tesla T4"], id="one GPU"),
        pytest.param("a100x8mig", "", ["NVIDIA A100-SXM4-40GB"] * 4, id="GPUs without MIG"),
        pytest.param(
            "a100x8mig56", "", ["NVIDIA A100-SXM4-40GB MIG 1g.5gb"], id="one MIG device of many"
        ),
        pytest.param(
            "a100x8mig",
            f"export CUDA_VISIBLE_DEVICES={SEVENTH}",
            ["NVIDIA A100-SXM4-40GB MIG 1g.5gb"],
            id="chosen MIG device",
        ),
        pytest.param(
            "a100x8mig",
            f"export CUDA_VISIBLE_DEVICES=1,{FOURTH[:9]},9,2",
            ["NVIDIA A100-SXM4-40GB"] * 2,
            id="chosen GPUs, up to one that there is not",
        ),
    ],
)
def test_program_counts_devices(machine: str, script: str, names: list[str]) -> None:
    code, said = query(machine, script)

    shown = [line.split('"')[1] for line in said if '"' in line]
    assert shown == names
    assert f"Detected {len(names)} CUDA Capable device(s)" in said
    assert (code, said[-1]) == (0, "Result = PASS")


def test_program_says_what_a_gpu_is() -> None:
    _, said = query("t4x1")

    assert said[3:] == [
        'Device 0: "Tesla T4"',
        "CUDA Driver Version:                           13.0",
        "CUDA Capability Major/Minor version number:    7.5",
        "Total amount of global memory:                 15360 MBytes (16106127360 bytes)",
        "Device PCI bus id:                             0000:00:1E.0",
        "deviceQuery, CUDA Driver Version = 13.0, NumDevs = 1",
        "Result = PASS",
    ]


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        pytest.param(
            "rm /dev/nvidia0", {}, "100 no CUDA-capable device is detected", id="no GPU's node"
        ),
        pytest.param("export CUDA_VISIBLE_DEVICES=", {}, "100 no CUDA-capable device is detected",
                     id="none chosen"),
        pytest.param("rm /dev/nvidia-uvm", {}, "999 unknown error", id="no nvidia-uvm"),
        pytest.param("", {"fail": ["cuInit:802"]}, "802 system not yet initialized", id="fabric"),
    ],
)  # fmt: skip
def test_program_fails(script: str, options: dict[str, Any], said: str) -> None:
    code, lines = query("t4x1", script, **options)

    number, _, text = said.partition(" ")
    assert lines[2] == f"cuInit returned {number}"
    assert lines[3].startswith(f"-> {text} (CUDA_ERROR_")
    assert (code, lines[-1]) == (1, "Result = FAIL")
