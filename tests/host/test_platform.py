# SPDX-License-Identifier: Apache-2.0
"""Which mode auto means on a machine, by its files and by NVML's names of its GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import simulated

from nvidia_runtime.host import machine, platform
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine

from . import trees

RELEASE = {"etc/nv_tegra_release": "# R36\n"}
FAMILY = {"sys/devices/soc0/family": "Tegra\n"}
COMPATIBLE = {"proc/device-tree/compatible": "nvidia,p3737-0000\0nvidia,tegra234\0"}
NVML = {"usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1": ""}
WSL = {"usr/lib/wsl/lib/libdxcore.so": ""}
CACHED = {"etc/ld.so.cache": "…\0/usr/lib/tegra/libnvidia-ml.so.1\0"}
PROGRAM = """
import sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.host import machine, platform
print(platform.mode(), machine.auto_mode())
"""


@pytest.mark.parametrize(
    ("tree", "mode", "detected"),
    [
        ({}, "jit-cdi", "unknown"),
        (NVML, "jit-cdi", "nvml"),
        (RELEASE, "csv", "tegra"),
        (FAMILY, "csv", "tegra"),
        ({"sys/devices/soc0/family": "tEGRA\n"}, "csv", "tegra"),
        ({"sys/devices/soc0/family": "jep106:036b\n"}, "jit-cdi", "unknown"),
        ({"etc/nv_tegra_release/": ""}, "jit-cdi", "unknown"),
        (COMPATIBLE, "jit-cdi", "unknown"),
        (RELEASE | NVML, "", None),
        (COMPATIBLE | NVML, "", None),
        (RELEASE | CACHED, "", None),
        (WSL, "jit-cdi", "wsl"),
        (WSL | RELEASE | NVML, "jit-cdi", "wsl"),
        ({"usr/lib64/libdxcore.so": "", "dev/dxg": ""}, "jit-cdi", "wsl"),
        ({"usr/lib64/libdxcore.so": ""} | NVML, "jit-cdi", "nvml"),
    ],
    ids=[
        "nothing",
        "server",
        "tegra by its release",
        "tegra by its family",
        "family in other letters",
        "another SoC",
        "the release is a folder",
        "a SoC without a Tegra system has no lists",
        "tegra with NVML",
        "a SoC with NVML",
        "NVML by the loader's cache",
        "WSL",
        "WSL before all",
        "WSL's library in another folder",
        "WSL's library without its node",
    ],
)
def test_by_files(tree: dict[str, str], mode: str, detected: str | None, tmp_path: Path) -> None:
    root = trees.make(tmp_path, tree)

    assert platform.mode(root) == mode
    if detected:  # else NVML has to be asked
        assert machine.kind(Machine(Driver(root), kernel_root=root)) == detected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("orin", " csv"),
        ("thor_dgpu", " csv"),
        ("gb200x4", "jit-cdi jit-cdi"),
        ("t4x1", "jit-cdi jit-cdi"),
        ("wsl2", "jit-cdi jit-cdi"),
    ],
)
def test_simulated_machines(name: str, said: str) -> None:
    """Files alone decide everywhere except on a SoC with NVML."""
    words = [sys.executable, "-I", "-c", PROGRAM.format(tree=str(simulated.TREE))]
    got = simulated.run(name, words)

    assert (got.stdout.rstrip("\n"), got.stderr) == (said, "")


def test_a_silent_nvml_says_nothing_of_a_soc() -> None:
    words = [sys.executable, "-I", "-c", PROGRAM.format(tree=str(simulated.TREE))]
    got = simulated.run("orin", words, fail=["nvmlInit_v2:9"])

    assert got.stdout == " jit-cdi\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Orin (nvgpu)", True),
        ("NVIDIA Thor", True),
        ("NVIDIA GB10", False),
        ("NVIDIA RTX 6000 Ada Generation", False),
    ],
)
def test_is_integrated(name: str, expected: bool) -> None:
    assert platform.is_integrated(name) is expected


def test_mode_is_light() -> None:
    """It runs at every create in auto mode."""
    program = (
        f"import sys; sys.path.insert(0, {str(simulated.TREE)!r})\n"
        "before = set(sys.modules)\n"
        "from nvidia_runtime.host import platform\n"
        "platform.mode()\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    words = [sys.executable, "-I", "-S", "-c", program]
    got = subprocess.run(words, capture_output=True, text=True, check=True)

    assert got.stdout.split() == [
        "nvidia_runtime",
        "nvidia_runtime.host",
        "nvidia_runtime.host.platform",
    ]
