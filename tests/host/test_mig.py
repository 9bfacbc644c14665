# SPDX-License-Identifier: Apache-2.0
"""MIG instances as the kernel driver lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.host import mig
from nvidia_runtime.host.gpu import Mig

from . import trees

MINORS = """config 1
monitor 2
gpu0/gi1/access 12
gpu0/gi1/ci0/access 13
gpu0/gi11/access 102
gpu0/gi11/ci0/access 103
gpu1/gi1/access x
gpu1/gi1/ci0/access 148
"""
FOLDER = "proc/driver/nvidia/capabilities"


@pytest.mark.parametrize(
    ("gpu", "instance", "expected"),
    [
        pytest.param(0, 1, ["12", "13"], id="both"),
        pytest.param(0, 11, ["102", "103"], id="a longer number"),
        pytest.param(1, 1, [], id="no number"),
        pytest.param(2, 1, [], id="unknown"),
    ],
)
def test_nodes(gpu: int, instance: int, expected: list[str], tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"proc/driver/nvidia-caps/mig-minors": MINORS})
    device = Mig(0)
    device.gpu_instance, device.compute_instance = instance, 0

    paths = mig.node_paths(mig.read_minors(root), gpu, device)

    assert paths == [f"/dev/nvidia-caps/nvidia-cap{number}" for number in expected]


def test_no_table(tmp_path: Path) -> None:
    assert mig.read_minors(f"{tmp_path}") == ""


@pytest.mark.parametrize(
    ("tree", "is_possible", "has_instances"),
    [
        pytest.param({}, False, False, id="no driver"),
        pytest.param({f"{FOLDER}/mig/config": ""}, False, False, id="no GPU with MIG"),
        pytest.param({f"{FOLDER}/gpu0/mig/": ""}, True, False, id="no instance"),
        pytest.param({f"{FOLDER}/gpu0/mig/gi1/": ""}, True, True, id="an instance"),
        pytest.param({f"{FOLDER}/gpu0/mig": ""}, False, False, id="a file"),
    ],
)
def test_instances(
    tree: dict[str, str], is_possible: bool, has_instances: bool, tmp_path: Path
) -> None:
    root = trees.make(tmp_path, tree)

    assert mig.is_possible(root) is is_possible
    assert mig.has_instances(root) is has_instances


def test_instances_of_a_gpu_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    names = ("gi11/ci0", "gi2/ci1", "gi2/ci0", "gi3", "gix/ci0")
    root = trees.make(tmp_path, {f"{FOLDER}/gpu0/mig/{name}/access": "" for name in names})

    assert mig.instances(root, 0) == [(2, 0), (2, 1), (11, 0)]
    assert mig.instances(root, 1) == []
