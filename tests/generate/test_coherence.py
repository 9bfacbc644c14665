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


def names(made: dict[str, Any]) -> list[str]:
    assert not any("annotations" in device for device in made["devices"])
    return [device["name"] for device in made["devices"]]


def test_both_kinds() -> None:
    specs = coherence.split(spec(a="true", b="false", c=""), Options())

    assert {suffix: names(made) for suffix, made in specs.items()} == {
        "": ["a", "all", "b", "c"],
        "coherent": ["a", "all"],
        "noncoherent": ["all", "b"],
    }
    assert [made["kind"] for made in specs.values()] == [
        "nvidia.com/gpu",
        "nvidia.com/gpu.coherent",
        "nvidia.com/gpu.noncoherent",
    ]
    assert [made["cdiVersion"] for made in specs.values()] == ["0.3.0", "0.6.0", "0.6.0"]
    for made in specs.values():
        cdi_spec.check(made)
        assert made["containerEdits"]["env"] == ["A=1", "NVIDIA_VISIBLE_DEVICES=void"]


def test_one_kind_only() -> None:
    specs = coherence.split(spec(a="true"), Options().but(merged_device=False))

    assert list(specs) == ["", "coherent"]
    assert names(specs["coherent"]) == ["a"]


def test_without_annotations_it_is_the_same() -> None:
    made = spec(a="", b="")

    assert coherence.split(made, Options()) == {"": made}
