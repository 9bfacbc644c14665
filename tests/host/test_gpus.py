# SPDX-License-Identifier: Apache-2.0
"""GPUs by /proc, where that is enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.host import gpus

from . import trees

VERSION = {"sys/module/nvidia/version": "580.95.05\n"}


def information(minor: int | str = 0, uuid: str = "GPU-1", more: str = "") -> str:
    return f"Model: \t NVIDIA A100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n{more}"


def tree(**texts: str) -> dict[str, str]:
    """Make /proc of GPUs by their bus numbers, ``b07`` and so on."""
    folder = "proc/driver/nvidia/gpus"
    return {
        f"{folder}/0000:{name[1:]}:00.0/information": text for name, text in texts.items()
    } | VERSION


def test_in_the_order_of_bus_ids(tmp_path: Path) -> None:
    texts = {"b47": information(0, "GPU-c"), "b07": information(2, "GPU-a")}
    far = {"proc/driver/nvidia/gpus/10000:01:00.0/information": information(1, "GPU-z")}
    root = trees.make(tmp_path, tree(**texts) | far)

    devices = gpus.from_proc(root)

    told = [(gpu.index, gpu.bus_id, gpu.minor, gpu.uuid, gpu.name) for gpu in devices]
    assert told == [
        (0, "0000:07:00.0", 2, "GPU-a", "NVIDIA A100"),
        (1, "0000:47:00.0", 0, "GPU-c", "NVIDIA A100"),
        (2, "10000:01:00.0", 1, "GPU-z", "NVIDIA A100"),
    ]


@pytest.mark.parametrize(
    ("files", "count"),
    [
        pytest.param(tree(b07=information()), 1, id="enough"),
        pytest.param(tree(b07=information(more="GPU Excluded: \t Yes\n")), 0, id="excluded"),
        pytest.param(tree(b07=information(uuid="GPU-????????-????")), 0, id="no UUID yet"),
        pytest.param(tree(b07=information(uuid="")), 0, id="no UUID"),
        pytest.param(tree(b07=information(minor="")), 0, id="no minor"),
        pytest.param(tree(b07="", b47=information(1)), 0, id="nothing of one of two"),
        pytest.param(
            {**tree(b07=information()), "sys/module/nvidia/version": ""}, 0, id="no version"
        ),
        pytest.param(
            {**tree(b07=information()), "etc/nv_tegra_release": "# R36"}, 0, id="a Tegra system"
        ),
        pytest.param(
            {
                **tree(b07=information()),
                "proc/driver/nvidia/capabilities/gpu0/mig/gi1/access": "",
            },
            0,
            id="a GPU instance",
        ),
    ],
)
def test_whether_proc_says_enough(files: dict[str, str], count: int, tmp_path: Path) -> None:
    assert len(gpus.from_proc(trees.make(tmp_path, files))) == count
