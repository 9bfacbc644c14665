# SPDX-License-Identifier: Apache-2.0
"""Which kind of spec a machine gets by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import simulated

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Options

from . import on_machine

# A create that finds the machine changed waits for all that is imported, beyond json.
PROGRAM = """
import sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Options
machine.generate(Options())
print(*sys.modules)
"""
SLOW = {"typing", "dataclasses", "subprocess", "ctypes", "select", "yaml", "jsonschema"}


@pytest.mark.parametrize(
    ("name", "node"),
    [("t4x1", "/dev/nvidia0"), ("orin", "/dev/nvmap"), ("wsl2", "/dev/dxg")],
)
def test_auto(name: str, node: str, tmp_path: Path) -> None:
    generated = on_machine.generate(name, tmp_path)

    assert node in generated.nodes("all")
    assert [warning for warning in generated.warnings if "assuming" in warning] == []


def test_a_machine_that_shows_nothing_of_itself(tmp_path: Path) -> None:
    """Only NVML's own library may be missing, so the error names it."""
    options = Options()
    options.driver_root = options.kernel_root = f"{tmp_path}"

    with pytest.raises(NvidiaRuntimeError) as error:
        machine.generate(options)

    assert str(error.value) == f"{tmp_path}: has no libnvidia-ml.so.1: no driver is installed"


def test_unknown_mode() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        machine.generate(Options("cuda"))

    assert str(error.value) == "unknown mode 'cuda'"
    assert error.value.hint.startswith("modes are auto, nvml, csv, ")


@pytest.mark.parametrize("mode", ["management", "imex", "gds", "wsl", "csv", "nvml", "auto"])
def test_unknown_name_strategy(mode: str) -> None:
    """In every mode, also where it would have no effect."""
    with pytest.raises(NvidiaRuntimeError, match="unknown device name strategy 'bogus'"):
        machine.generate(Options(mode).but(strategies=("bogus",)))


def test_options_with_changes_leave_the_others() -> None:
    options = Options("nvml", ("0",))

    changed = options.but(vendor="x.com")

    assert (changed.mode, changed.ids, changed.vendor) == ("nvml", ("0",), "x.com")
    assert options.vendor == "nvidia.com"


def test_full_gpus_are_generated_with_little(tmp_path: Path) -> None:
    program = PROGRAM.format(tree=os.fspath(simulated.TREE))

    got = simulated.run("a100x8", [sys.executable, "-I", "-S", "-c", program])

    assert got.returncode == 0, got.stderr
    assert SLOW & set(got.stdout.split()) == set()
