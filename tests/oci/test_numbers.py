# SPDX-License-Identifier: Apache-2.0
"""Nodes that have another driver's numbers, and the rules that allow them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from nvidia_runtime.oci import edit

Document = dict[str, Any]


def node(path: str, major: int, minor: int = 0, kind: str = "c") -> Document:
    return {"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 438}


def rule(major: int, minor: int = 0, **more: Any) -> Document:
    return {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm", **more}


def changed(devices: list[Any], rules: list[Any], **numbers: tuple[int, int]) -> tuple[Any, Any]:
    """Return nodes and rules after the nodes of some names below /dev got other numbers."""
    spec: Document = {"linux": {"devices": devices, "resources": {"devices": rules}}}
    paths = {f"/dev/{name.replace('_', '-')}": pair for name, pair in numbers.items()}
    before = copy.deepcopy(spec)
    edit.apply(spec, [{"numbers": paths}], "config.json")
    assert before.keys() == spec.keys()
    return spec["linux"]["devices"], spec["linux"]["resources"]["devices"]


DENIED = {"allow": False, "access": "rwm"}


@pytest.mark.parametrize(
    ("devices", "rules", "numbers", "nodes", "wanted"),
    [
        pytest.param(
            [node("/dev/a", 511), node("/dev/b", 1, 3)],
            [DENIED, rule(1, 3), rule(511)],
            {"a": (510, 0)},
            [node("/dev/a", 510), node("/dev/b", 1, 3)],
            [DENIED, rule(1, 3), rule(510)],
            id="one, and its rule in its place",
        ),
        pytest.param(
            [node("/dev/a", 511), node("/dev/b", 510)],
            [rule(511), rule(510, access="rw")],
            {"a": (510, 0), "b": (511, 0)},
            [node("/dev/a", 510), node("/dev/b", 511)],
            [rule(510), rule(511, access="rw")],
            id="two drivers have exchanged theirs",
        ),
        pytest.param(
            [node("/dev/a", 511), node("/dev/b", 511)],
            [rule(511)],
            {"a": (510, 0)},
            [node("/dev/a", 510), node("/dev/b", 511)],
            [rule(511), rule(510)],
            id="another node needs the rule",
        ),
        pytest.param(
            [node("/dev/a", 511, kind="u"), node("/dev/b", 511, kind="b")],
            [rule(511)],
            {"a": (510, 0)},
            [node("/dev/a", 510, kind="u"), node("/dev/b", 511, kind="b")],
            [rule(510)],
            id="unbuffered is for characters",
        ),
        pytest.param(
            [node("/dev/a", 511)],
            [{"allow": True, "access": "rwm"}, {"allow": True, "type": "c", "major": 511}, "x"],
            {"a": (510, 0)},
            [node("/dev/a", 510)],
            [{"allow": True, "access": "rwm"}, {"allow": True, "type": "c", "major": 511}, "x"],
            id="rules for more than this node stay",
        ),
        pytest.param(
            ["x", {"path": 1}, node("/dev/a", 511), node("/dev/a-b", 511)],
            [rule(511), {**rule(511), "allow": False}],
            {"a": (510, 0), "a_b": (510, 0)},
            ["x", {"path": 1}, node("/dev/a", 510), node("/dev/a-b", 510)],
            [rule(510), {**rule(511), "allow": False}],
            id="no rule twice",
        ),
    ],
)
def test_numbers(
    devices: list[Any], rules: list[Any], numbers: Document, nodes: list[Any], wanted: list[Any]
) -> None:
    assert changed(devices, rules, **numbers) == (nodes, wanted)


def test_without_rules() -> None:
    spec: Document = {"linux": {"devices": [node("/dev/a", 511)]}}

    edit.apply(spec, [{"numbers": {"/dev/a": (510, 0)}}], "config.json")

    assert spec == {"linux": {"devices": [node("/dev/a", 510)]}}
