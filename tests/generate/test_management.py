# SPDX-License-Identifier: Apache-2.0
"""The CDI spec for managers of GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
import simulated
from host import trees

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Generated, Options


def generate(root: str | Path) -> Generated:
    options = Options("management").but(driver_root=f"{root}", kernel_root=f"{root}")
    return machine.generate(options)


def test_all_nodes_of_the_driver_and_of_no_other() -> None:
    generated = generate(simulated.machine("h100x8"))
    (device,) = generated.spec["devices"]
    nodes = [node["path"] for node in device["containerEdits"]["deviceNodes"]]

    assert device["name"] == "all"
    assert nodes == [
        *("/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
        *(f"/dev/nvidia{index}" for index in range(8)),
        "/dev/nvidiactl",
        *(f"/dev/nvidia-caps-imex-channels/channel{index}" for index in (0, 1, 2047)),
        *("/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2"),
    ]


def test_the_driver_without_graphics_and_without_what_hinders() -> None:
    common = generate(simulated.machine("h100x8")).spec["containerEdits"]
    hooks = [hook["args"][1] for hook in common["hooks"]]
    mounts = [mount["containerPath"] for mount in common["mounts"]]

    assert hooks == ["create-symlinks", "enable-cuda-compat", "update-ldcache"]
    assert "/usr/bin/nvidia-smi" in mounts
    assert not any("vulkan" in path or "X11" in path for path in mounts)


def test_no_node(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"dev/nvidia0": "", "dev/nvidia-fs0": ""})
    with pytest.raises(NvidiaRuntimeError) as caught:
        generate(root)

    assert str(caught.value) == f"{root}/dev: no NVIDIA device nodes found"


def test_nodes_of_other_drivers_are_none(tmp_path: Path) -> None:
    for name in ("nvidia-fs0", "nvidia-nvswitchctl", "nvidia-nvlink"):
        trees.mknod(tmp_path / "dev" / name, 500, 0)
    with pytest.raises(NvidiaRuntimeError, match="no NVIDIA device nodes found"):
        generate(tmp_path)
