# SPDX-License-Identifier: Apache-2.0
"""Whether a new spec may replace the old one, and the sentences about the changes."""

from __future__ import annotations

from typing import Any

import pytest

from nvidia_runtime.generate import changes

LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def spec(*names: str, version: str = "580.95.05", uvm: int = 511, **common: Any) -> dict[str, Any]:
    """Make the spec of a machine with these devices."""
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [
            {
                "name": name,
                "containerEdits": {
                    "deviceNodes": [{"path": f"/dev/nvidia{name}", "major": 195, "minor": 7}]
                },
            }
            for name in names
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [{"path": "/dev/nvidia-uvm", "major": uvm}],
            "mounts": [{"hostPath": f"{LIBRARIES}/libcuda.so.{version}", "containerPath": "/x"}],
            **common,
        },
    }


NEW = {
    "nothing": (spec("0"), []),
    "a device more": (
        spec("0", "1"),
        ["1 device added: 1", "1 device node added: /dev/nvidia1"],
    ),
    "another device": (
        spec("1"),
        [
            "1 device added: 1",
            "1 device removed: 0",
            "1 device node added: /dev/nvidia1",
            "1 device node removed: /dev/nvidia0",
        ],
    ),
    "another number": (spec("0", uvm=508), ["/dev/nvidia-uvm is 508:0, was 511:0"]),
    "another driver": (
        spec("0", version="590.10"),
        [
            "driver 580.95.05 -> 590.10",
            f"1 mount added: {LIBRARIES}/libcuda.so.590.10",
            f"1 mount removed: {LIBRARIES}/libcuda.so.580.95.05",
        ],
    ),
    "no driver": (
        spec("0", mounts=[]),
        ["driver 580.95.05 -> unknown", f"1 mount removed: {LIBRARIES}/libcuda.so.580.95.05"],
    ),
    "another variable": (
        spec("0", env=["A=1"]),
        ["1 variable added: A=1", "1 variable removed: NVIDIA_VISIBLE_DEVICES=void"],
    ),
    "hooks": (spec("0", hooks=[{"hookName": "createContainer"}]), ["hooks changed"]),
    "groups": (spec("0", additionalGids=[44]), ["other details changed"]),
}


@pytest.mark.parametrize(("new", "says"), NEW.values(), ids=NEW)
def test_differences(new: changes.Spec, says: list[str]) -> None:
    assert changes.differences(spec("0"), new) == says


def test_first_spec() -> None:
    assert changes.differences(None, spec("0", "all")) == ["2 devices: 0, all"]


def test_many_devices_are_not_all_named() -> None:
    names = [str(number) for number in range(20)]

    assert changes.differences(None, spec(*names)) == [
        "20 devices: 0, 1, 2, 3, 4, 5, 6, 7, 12 more"
    ]


@pytest.mark.parametrize(
    "old",
    [
        {"devices": None, "containerEdits": {"mounts": "none"}},
        {"devices": [{"name": 5, "containerEdits": None}]},
        {},
    ],
    ids=["wrong types", "no edits", "nothing"],
)
def test_old_spec_may_be_anything(old: changes.Spec) -> None:
    assert changes.differences(old, spec("0"))


LOST = {
    "a GPU that is sick": (spec("0", "1"), spec("0"), ["1", "GPU-x"], ["1"]),
    "one that was missing before": (spec("0"), spec("0"), ["1"], []),
    "one that was taken out": (spec("0", "1"), spec("0"), [], []),
    "another driver since": (spec("0", "1", version="570.1"), spec("0"), ["1"], []),
    "no spec before": (None, spec("0"), ["1"], []),
}


@pytest.mark.parametrize(("old", "new", "problems", "lost"), LOST.values(), ids=LOST)
def test_lost_devices(
    old: changes.Spec | None, new: changes.Spec, problems: list[str], lost: list[str]
) -> None:
    assert changes.lost_devices(old, new, problems) == lost
