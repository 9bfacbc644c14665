# SPDX-License-Identifier: Apache-2.0
"""A machine as far as a CDI spec needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine

from . import trees


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        pytest.param({}, "", id="nothing"),
        pytest.param(trees.DRIVER, trees.VERSION, id="names of libraries"),
        pytest.param(
            {**trees.DRIVER, "sys/module/nvidia/version": "570.1.2\n"},
            "570.1.2",
            id="the loaded module",
        ),
    ],
)
def test_version(tree: dict[str, str], expected: str, tmp_path: Path) -> None:
    root = trees.make(tmp_path, tree)

    assert Machine(Driver(root), kernel_root=root).version() == expected


@pytest.mark.parametrize(
    ("given", "expected"), [("", "/driver"), ("/host", "/host")], ids=["the driver's", "its own"]
)
def test_root_of_nodes(given: str, expected: str) -> None:
    assert Machine(Driver("/driver/"), given).dev_root == expected


def test_without_nvml(tmp_path: Path) -> None:
    machine = Machine(Driver(trees.make(tmp_path, trees.DRIVER)))

    assert not machine.has_nvml()
    with pytest.raises(NvidiaRuntimeError) as error:
        machine.nvml()

    assert str(error.value) == f"{tmp_path}: has no libnvidia-ml.so.1: no driver is installed"
    assert error.value.hint


def test_table_of_mig_is_read_once(tmp_path: Path) -> None:
    name = "proc/driver/nvidia-caps/mig-minors"
    machine = Machine(Driver("/"), kernel_root=trees.make(tmp_path, {name: "config 1\n"}))

    before = machine.mig_minors()
    (tmp_path / name).unlink()

    assert before == machine.mig_minors() == "\nconfig 1\n"
