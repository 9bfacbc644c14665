# SPDX-License-Identifier: Apache-2.0
"""The driver's version and the CUDA version that it brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.host import facts

from . import trees

MODULE = "sys/module/nvidia/version"
PROC = "proc/driver/nvidia/version"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023"
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  560.35.03  Release Build  (x@y)  "
    "Fri Aug 16 21:22:33 UTC 2024"
)
COMPILER = "\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        pytest.param({MODULE: "550.54.15\n"}, {"driver": "550.54.15", "cuda": "12.4"}, id="sysfs"),
        pytest.param(
            {PROC: CLOSED + COMPILER}, {"driver": "535.104.05", "cuda": "12.2"}, id="procfs"
        ),
        pytest.param(
            {PROC: OPEN + COMPILER}, {"driver": "560.35.03", "cuda": "12.6"}, id="open modules"
        ),
        pytest.param(
            {MODULE: "580.65.06\n", PROC: CLOSED},
            {"driver": "580.65.06", "cuda": "13.0"},
            id="sysfs goes first",
        ),
        pytest.param(
            {MODULE: "nonsense\n", PROC: CLOSED},
            {"driver": "535.104.05", "cuda": "12.2"},
            id="sysfs without a version",
        ),
        pytest.param({MODULE: "540.3.0\n"}, {"driver": "540.3.0"}, id="a branch of Tegra's"),
        pytest.param({MODULE: "999.1\n"}, {"driver": "999.1"}, id="a branch of the future"),
        pytest.param({MODULE: "550\n"}, {}, id="one number"),
        pytest.param({MODULE: ""}, {}, id="empty"),
        pytest.param({MODULE: f"{'9' * 5000}.1\n"}, {}, id="endless"),
        pytest.param({PROC: COMPILER}, {}, id="the version of something else"),
        pytest.param({PROC: COMPILER[1:]}, {}, id="the version of a compiler"),
        pytest.param({f"{MODULE}/": ""}, {}, id="a folder"),
        pytest.param({}, {}, id="no driver"),
    ],
)
def test_read(tree: dict[str, str], expected: dict[str, str], tmp_path: Path) -> None:
    assert facts.read(trees.make(tmp_path, tree)) == expected


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/usr/lib64/libcuda.so.470.256.02", "470.256.02"),
        ("/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.580.00", "580.00"),
        ("libnvidia-ml.so.535.261.03", "535.261.03"),
        ("/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1", ""),
        ("/usr/lib64/libcuda.so.1", ""),
        ("/usr/lib64/libcuda.so.535.261.03.bak", ""),
        ("/usr/lib64/libcuda.so.535..03", ""),
        ("/usr/lib64/libnvidia-ptxjitcompiler.so.535.261.03", ""),
        ("/libcuda.so.535.261.03/file", ""),
        ("", ""),
    ],
)
def test_version_in_the_name_of_a_library(path: str, version: str) -> None:
    assert facts.library_version(path) == version


@pytest.mark.parametrize(
    ("cuda", "branch"),
    [("12.4", 550), ("12.4.1", 550), ("12", 525), ("11.0", 450), ("1", 352), ("99", 0), ("x", 0)],
)
def test_oldest_branch_with_a_cuda_version(cuda: str, branch: int) -> None:
    assert facts.branch_with(cuda) == branch


def test_newer_branches_have_newer_versions() -> None:
    versions = [
        [int(part) for part in version.split(".")] for _, version in sorted(facts.BRANCHES.items())
    ]

    assert versions == sorted(versions)
    assert list(facts.BRANCHES) == sorted(facts.BRANCHES)
