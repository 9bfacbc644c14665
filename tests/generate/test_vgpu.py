# SPDX-License-Identifier: Apache-2.0
"""A guest with a part of a GPU, by NVIDIA's vGPU: for containers a GPU like any other."""

from __future__ import annotations

import json
from pathlib import Path

from . import on_machine


def test_its_part_is_a_gpu(tmp_path: Path) -> None:
    """By /proc of a proprietary module, and by NVML."""
    silent = on_machine.generate("vgpu", tmp_path)
    asked = on_machine.generate(
        "vgpu", tmp_path, thorough=True, flags=["enable-coherent-annotations"]
    )

    assert silent.nodes("0") == ["/dev/nvidia0", "/dev/dri/card1", "/dev/dri/renderD128"]
    assert silent.calls["nvmlInit_v2"] == 0
    assert asked.calls["nvmlInit_v2"] == 1
    assert asked.names() == silent.names()
    assert silent.warnings == []


def test_licence_stays_with_the_guest(tmp_path: Path) -> None:
    """nvidia-gridd has asked for it on the guest; a container needs neither it nor its settings."""
    spec = json.dumps(on_machine.generate("vgpu", tmp_path).spec)

    assert "libcuda.so.535.161.08" in spec
    assert "/run/nvidia-persistenced/socket" in spec
    for name in ("gridd", "topologyd", "/etc/nvidia"):
        assert name not in spec
