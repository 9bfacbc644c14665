# SPDX-License-Identifier: Apache-2.0
"""One spec for GPUs that share the CPU's page tables, one for those that do not."""

from __future__ import annotations

from typing import Any

from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.generate import assemble, coherence
from nvidia_runtime.generate.nvml import COHERENT
from nvidia_runtime.generate.options import Options

COMMON = {"env": ["A=1"]}


def spec(**coherent: str) -> dict[str, Any]:
    """Make a spec of devices by the values of their annotations, without one for ""."""
    devices = [
        assemble.device(
            name,
            {"deviceNodes": [{"path": f"/dev/nvidia{name}"}]},
            {COHERENT: value} if value else None,
        )
        for name, value in coherent.items()
    ]
    return assemble.spec(Options(), devices, COMMON)


def names(generated: dict[str, Any]) -> list[str]:
    assert not any("annotations" in device for device in generated["devices"])
    return [device["name"] for device in generated["devices"]]


def test_both_kinds() -> None:
    specs = coherence.split(spec(a="true", b="false", c=""), Options())

    assert {suffix: names(generated) for suffix, generated in specs.items()} == {
        "": ["a", "all", "b", "c"],
        "coherent": ["a", "all"],
        "noncoherent": ["all", "b"],
    }
    assert [generated["kind"] for generated in specs.values()] == [
        "nvidia.com/gpu",
        "nvidia.com/gpu.coherent",
        "nvidia.com/gpu.noncoherent",
    ]
    assert [generated["cdiVersion"] for generated in specs.values()] == ["0.3.0", "0.6.0", "0.6.0"]
    for generated in specs.values():
        cdi_spec.check(generated)
        assert generated["containerEdits"]["env"] == ["A=1", "NVIDIA_VISIBLE_DEVICES=void"]


def test_one_kind_only() -> None:
    specs = coherence.split(spec(a="true"), Options().but(merged_device=False))

    assert list(specs) == ["", "coherent"]
    assert names(specs["coherent"]) == ["a"]


def test_without_annotations_it_is_the_same() -> None:
    generated = spec(a="", b="")

    assert coherence.split(generated, Options()) == {"": generated}
