# SPDX-License-Identifier: Apache-2.0
"""Device programs in the kernel: attached, listed, replaced; without a moment that allows more."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import device_groups
import pytest
from device_groups import MAJOR, Member

from nvidia_runtime.linux import bpf, device_program
from nvidia_runtime.linux.bpf import F_ALLOW_MULTI, F_ALLOW_OVERRIDE
from nvidia_runtime.linux.control_groups import UNIFIED
from nvidia_runtime.linux.device_rules import Rule, bits

NODE = Rule(kind="c", major=MAJOR, minor=0)
OTHER = Rule(kind="c", major=MAJOR, minor=1)
READ = bits("r")
REFUSING = device_program.refusing()
GRANTING = device_program.with_rules(REFUSING, [NODE])


@pytest.fixture
def folder() -> Iterator[str]:
    """Return a group with another one in it."""
    with device_groups.group(UNIFIED, "inner") as folder:
        yield folder


@pytest.fixture
def group(folder: str) -> Iterator[int]:
    with device_groups.opened(folder) as group:
        yield group


@pytest.fixture
def member(group: int, folder: str, tmp_path: Path) -> Iterator[Member]:
    """Return a process in the inner group."""
    assert bpf.query(group) == ([], 0)
    with device_groups.member(f"{folder}/inner", tmp_path) as member:
        yield member


def attach(group: int, program: bytes, flags: int = F_ALLOW_MULTI, name: str = "nvcr") -> int:
    """Attach a program; it lives as long as the group."""
    with bpf.loaded(program, name) as descriptor:
        bpf.attach(group, descriptor, flags)
    return bpf.query(group)[0][-1]


def test_each_program_must_allow(group: int, member: Member) -> None:
    assert member.may(READ, OTHER)

    first = attach(group, GRANTING)
    assert [member.may(READ, rule) for rule in (NODE, OTHER)] == [True, False]
    second = attach(group, REFUSING)

    assert not member.may(READ, NODE)
    assert bpf.query(group) == ([first, second], F_ALLOW_MULTI)


def test_program_is_read_as_it_was_loaded(group: int) -> None:
    number = attach(group, GRANTING, name="a_name_of_15_ch")

    program = bpf.read(number)
    assert (program.id, program.name) == (number, "a_name_of_15_ch")
    assert program.instructions == GRANTING


def test_effective_programs_are_those_above_too(folder: str, group: int) -> None:
    above = attach(group, GRANTING)
    with device_groups.opened(f"{folder}/inner") as inner:
        own = attach(inner, REFUSING)

        assert bpf.query(inner) == ([own], F_ALLOW_MULTI)
        assert sorted(bpf.query(inner, effective=True)[0]) == sorted([above, own])


@pytest.mark.parametrize("flags", [F_ALLOW_MULTI, F_ALLOW_OVERRIDE, 0])
def test_replaced_program(flags: int, group: int, member: Member) -> None:
    """However it was attached: its place is taken, and nothing is added."""
    old = attach(group, REFUSING, flags)
    other = attach(group, GRANTING, flags) if flags == F_ALLOW_MULTI else 0
    with bpf.loaded(GRANTING, "nvcr") as new, bpf.opened(old) as replaced:
        bpf.replace(group, new, replaced, flags)

    ids, now = bpf.query(group)
    assert (len(ids), now) == (2 if other else 1, flags)
    assert old not in ids
    assert [member.may(READ, rule) for rule in (NODE, OTHER)] == [True, False]


def test_program_that_is_gone_is_not_replaced(group: int) -> None:
    """As if systemd had been faster."""
    old = attach(group, REFUSING)
    with bpf.loaded(GRANTING, "nvcr") as new, bpf.opened(old) as replaced:
        bpf.detach(group, replaced)
        with pytest.raises(OSError) as error:
            bpf.replace(group, new, replaced, F_ALLOW_MULTI)

    assert error.value.errno == errno.ENOENT
    assert bpf.query(group) == ([], F_ALLOW_MULTI) or bpf.query(group) == ([], 0)


def test_program_that_the_kernel_refuses(group: int) -> None:
    assert group
    unset = b"\x95" + bytes(7)  # it ends, and has said nothing

    with pytest.raises(PermissionError), bpf.loaded(unset, "nvcr"):
        pass


def test_many_rules_are_one_program(group: int, member: Member) -> None:
    """Eight GPUs, each in seven MIG devices, are some 250 nodes."""
    rules = [Rule(kind="c", major=MAJOR, minor=minor) for minor in range(1000)]

    attach(group, device_program.with_rules(REFUSING, rules))

    asked = [Rule(kind="c", major=MAJOR, minor=minor) for minor in (0, 999, 1000)]
    assert [member.may(READ, rule) for rule in asked] == [True, True, False]


def test_unknown_program() -> None:
    with pytest.raises((FileNotFoundError, PermissionError)), bpf.opened(0):
        pass
