# SPDX-License-Identifier: Apache-2.0
"""/proc/driver/nvidia: the GPUs and their bus ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.host import proc

from . import trees

INFORMATION = """\
Model: \t\t NVIDIA A100-SXM4-40GB
GPU UUID: \t GPU-11111111-2222-4333-8444-{number:012}
Bus Location: \t {bus_id}
Device Minor: \t {minor}
GPU Excluded:\t {excluded}
"""


def information(bus_id: str, number: int, minor: object, excluded: str = "No") -> dict[str, str]:
    """Write a GPU's file as the driver does."""
    text = INFORMATION.format(bus_id=bus_id, number=number, minor=minor, excluded=excluded)
    return {f"proc/driver/nvidia/gpus/{bus_id}/information": text}


def test_gpus_in_the_order_of_bus_ids(tmp_path: Path) -> None:
    root = trees.make(
        tmp_path,
        {
            **information("10000:01:00.0", 3, 1),
            **information("0000:47:00.0", 2, 0, "Yes"),
            **information("0000:0f:00.0", 1, 3),
            **information("0000:07:00.0", 0, 2),
        },
    )

    rows = [(gpu.bus_id, gpu.uuid[-1], gpu.minor) for gpu in proc.gpus(root)]

    assert rows == [("0000:07:00.0", "0", 2), ("0000:0f:00.0", "1", 3), ("10000:01:00.0", "3", 1)]


@pytest.mark.parametrize("silent", ["0000:07:00.0/", "0000:07:00.0/information"])
def test_gpu_of_which_nothing_is_told_keeps_its_index(silent: str, tmp_path: Path) -> None:
    folder = "proc/driver/nvidia/gpus"
    root = trees.make(tmp_path, {f"{folder}/{silent}": "", **information("0000:47:00.0", 1, 1)})

    assert [(gpu.bus_id, gpu.minor) for gpu in proc.gpus(root)] == [
        ("0000:07:00.0", -1),
        ("0000:47:00.0", 1),
    ]


def test_no_driver_no_gpus(tmp_path: Path) -> None:
    assert proc.gpus(f"{tmp_path}") == []


def test_fields_may_be_missing(tmp_path: Path) -> None:
    root = trees.make(
        tmp_path, {"proc/driver/nvidia/gpus/0000:07:00.0/information": "no fields\nModel: X: Y\n"}
    )
    (gpu,) = proc.gpus(root)

    assert (gpu.bus_id, gpu.uuid, gpu.minor) == ("0000:07:00.0", "", -1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0000:65:00.0", "0000:65:00.0"),
        ("00000000:B6:00.0", "0000:b6:00.0"),
        ("00010000:B6:00.0", "00010000:b6:00.0"),
        ("GPU-00000000", "gpu-00000000"),
    ],
)
def test_bus_id(text: str, expected: str) -> None:
    assert proc.bus_id(text) == expected
