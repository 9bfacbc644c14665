# SPDX-License-Identifier: Apache-2.0
"""What all that judge a container's device nodes say together."""

from __future__ import annotations

import pytest

from nvidia_runtime.linux import device_judges, device_program
from nvidia_runtime.linux.bpf import Program
from nvidia_runtime.linux.control_groups import DEVICES, UNIFIED, Group
from nvidia_runtime.linux.device_judges import Judge
from nvidia_runtime.linux.device_rules import Rule


def group(path: str, hierarchy: str = UNIFIED) -> Group:
    return Group(hierarchy=hierarchy, top="/sys/fs/cgroup", path=path)


REFUSING = device_program.refusing()
RULE = Rule(kind="c", major=195, minor=0)


def judge(*rules: Rule, instructions: bytes | None = b"", is_list: bool = False) -> Judge:
    """Make a list, or a program that allows some rules, or one of other instructions."""
    if is_list:
        return Judge(group=group("/a", DEVICES), is_own=True, rules=rules)
    own = device_program.with_rules(REFUSING, rules) if instructions == b"" else instructions
    program = Program(id=7, name="", instructions=own)
    return Judge(group=group("/a"), is_own=True, program=program)


CALL = b"\x85" + bytes(7)
ALL, READ = RULE, Rule(kind="c", major=195, minor=0, access="r")
UNKNOWN = "program 7 of /sys/fs/cgroup/a is not understood: "


@pytest.mark.parametrize(
    ("judges", "expected"),
    [
        ([], ("rwm", "")),
        ([judge(ALL)], ("rwm", "")),
        ([judge(ALL), judge()], ("", "")),
        ([judge(ALL), judge(READ)], ("r", "")),
        ([judge(READ, is_list=True), judge(ALL)], ("r", "")),
        ([judge(ALL, is_list=True)], ("rwm", "")),
        ([judge(READ, Rule(kind="c", major=195, minor=0, access="wm"))], ("rm", "")),
        ([judge(instructions=CALL)], ("rwm", f"{UNKNOWN}instruction 0 is 0x85")),
        ([judge(instructions=None)], ("rwm", f"{UNKNOWN}the kernel does not show it")),
        ([judge(instructions=CALL), judge()], ("", "")),
    ],
)
def test_all_have_to_allow(judges: list[Judge], expected: tuple[str, str]) -> None:
    assert device_judges.allowed(judges, RULE) == expected
