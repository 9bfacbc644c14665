# SPDX-License-Identifier: Apache-2.0
"""Containers on the machines of today: what is peculiar to each comes into them, or does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.simulate import catalogue

from .test_machine import create, job, numbers

ALL = "NVIDIA_VISIBLE_DEVICES=all"
# Machine, what a container asks for beside all GPUs, and nodes that it gets with them.
NODES = {
    "gb10": ((), ["/dev/dri/card0", "/dev/dri/renderD128"]),
    "gh200": ((), []),
    "gb200x4": (
        ("NVIDIA_IMEX_CHANNELS=0",),
        [
            *(f"/dev/dri/card{number}" for number in (1, 2, 3, 4)),
            *(f"/dev/dri/renderD{number}" for number in (128, 129, 130, 131)),
            "/dev/nvidia-caps-imex-channels/channel0",
        ],
    ),
    "b200x8": (("NVIDIA_MOFED=enabled",), ["/dev/infiniband/uverbs0", "/dev/infiniband/uverbs1"]),
    "b300x8": ((), []),
    "rtx5090": ((), ["/dev/dri/card1", "/dev/dri/renderD128"]),
    "vgpu": ((), ["/dev/dri/card1", "/dev/dri/renderD128"]),
}
CONTROL = {
    *("/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
    "/dev/infiniband/rdma_cm",
}


@pytest.mark.parametrize("name", NODES)
def test_nodes(name: str, tmp_path: Path) -> None:
    variables, more = NODES[name]

    (end,) = create(name, tmp_path, job(ALL, *variables))

    assert (end["code"], end["err"]) == (0, "")
    gpus = [f"/dev/nvidia{gpu.minor}" for gpu in catalogue.find(name).gpus]
    assert {path for path, _, _ in numbers(end)} - CONTROL == {*gpus, *more}


@pytest.mark.parametrize(
    ("name", "folder", "socket"),
    [
        ("gb10", "/usr/lib/aarch64-linux-gnu", "/run/nvidia-persistenced/socket"),
        ("gb200x4", "/usr/lib/aarch64-linux-gnu", "/run/nvidia-persistenced/socket"),
        ("b200x8", "/usr/lib/x86_64-linux-gnu", "/run/nvidia-fabricmanager/socket"),
    ],
)
def test_files(name: str, folder: str, socket: str, tmp_path: Path) -> None:
    (end,) = create(name, tmp_path, job(ALL))

    mounted = {mount["destination"] for mount in end["spec"]["mounts"]}
    assert {f"{folder}/libcuda.so.580.95.05", socket} <= mounted
