# SPDX-License-Identifier: Apache-2.0
"""Specs of modes other than nvml, as NVIDIA Container Toolkit wrote them on the same machines."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import simulated
import yaml

PROGRAM = f"""
import json, sys
sys.path.insert(0, {str(simulated.TREE)!r})
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Options
print(json.dumps(machine.generate(Options(sys.argv[1])).spec))
"""


def normal(part: Any) -> Any:
    """Return a spec with the default that readers assume: a minor number is 0."""
    if isinstance(part, list):
        return [normal(item) for item in part]
    if not isinstance(part, dict):
        return part
    added = {"minor": 0} if "major" in part else {}
    return added | {key: normal(value) for key, value in part.items()}


@pytest.mark.parametrize(
    ("recorded", "mode"),
    [
        ("orin", "csv"),
        ("orin", "auto"),
        ("h100x8_imex", "imex"),
        ("h100x8_gds", "gds"),
        ("h100x8_mofed", "mofed"),
        ("h100x8_gdrcopy", "gdrcopy"),
        ("h100x8_nvswitch", "nvswitch"),
    ],
)
def test_recorded(recorded: str, mode: str) -> None:
    name = recorded.partition("_")[0]
    got = simulated.run(name, [sys.executable, "-I", "-c", PROGRAM, mode])
    wanted = yaml.safe_load((simulated.EXPECTED / f"cdi/{recorded}.yaml").read_text())

    assert got.stderr == ""
    assert normal(json.loads(got.stdout)) == normal(wanted)
