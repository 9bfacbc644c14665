# SPDX-License-Identifier: Apache-2.0
"""Rules for device nodes on cgroup v1: read, judged as the kernel judges, and given."""

from __future__ import annotations

from pathlib import Path

import device_groups
import pytest
from device_groups import MAJOR

from nvidia_runtime.linux import device_rules
from nvidia_runtime.linux.control_groups import DEVICES
from nvidia_runtime.linux.device_rules import Rule, bits

LIST = "c *:* m\nb *:* m\nc 1:3 rwm\nc 136:* rwm\nc 195:0 rw\nc 195:1 r\nc 195:1 w\nx\nc a:b rw\n"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("c", 1, 3, "rwm"), "rwm"),
        (("c", 1, 5, "rwm"), "m"),
        (("b", 1, 3, "rwm"), "m"),
        (("c", 136, 9, "rw"), "rw"),
        (("c", 195, 0, "rwm"), "rwm"),
    ],
)
def test_list(asked: tuple[str, int, int, str], expected: str) -> None:
    kind, major, minor, access = asked
    rules = device_rules.parse(LIST)
    rule = Rule(kind=kind, major=major, minor=minor)

    assert len(rules) == 7
    allowed = [letter for letter in access if device_rules.allows(rules, bits(letter), rule)]
    assert "".join(allowed) == expected


def test_both_at_once_needs_one_rule_for_both() -> None:
    """A program opens its GPU to read and write."""
    rules = device_rules.parse(LIST)
    rule = Rule(kind="c", major=195, minor=1)

    assert [device_rules.allows(rules, bits(access), rule) for access in ("r", "w", "rw")] == [
        *(True, True, False),
    ]


def test_group_that_allows_all() -> None:
    rules = device_rules.parse("a *:* rwm\n")

    assert device_rules.allows(rules, bits("rw"), Rule(kind="b", major=8, minor=0))


def test_questions_are_what_the_kernel_asks() -> None:
    names = {
        access: [device_rules.letters(one) for one in device_rules.questions(access)]
        for access in ("rwm", "rw", "r", "m", "")
    }

    assert names == {
        "rwm": ["r", "w", "rw", "m"],
        "rw": ["r", "w", "rw"],
        "r": ["r"],
        "m": ["m"],
        "": [],
    }


def test_kernel_takes_rules_and_shows_them(tmp_path: Path) -> None:
    rule = Rule(kind="c", major=MAJOR, minor=0, access="rw")
    with (
        device_groups.group(DEVICES, "inner", denied=True) as folder,
        device_groups.member(f"{folder}/inner", tmp_path) as member,
    ):
        inner = f"{folder}/inner"
        assert not member.may(bits("rw"), rule)
        with pytest.raises(PermissionError):
            device_rules.allow(inner, rule)  # the group above lacks it
        for group in (folder, inner):
            device_rules.allow(group, rule)

        assert device_rules.read(inner) == [rule]
        for question in device_rules.questions("rwm"):
            expected = device_rules.allows([rule], question, rule)
            assert member.may(question, rule) == expected
