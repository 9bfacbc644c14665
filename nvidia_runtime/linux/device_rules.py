# SPDX-License-Identifier: Apache-2.0
"""Rules of control groups for device nodes, and those of a cgroup v1: devices.list and its peers.

See Documentation/admin-guide/cgroup-v1/devices.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# As <linux/bpf.h> numbers them; letters are those of devices.list.
KINDS = {"b": 1, "c": 2}
ACCESSES = {"m": 1, "r": 2, "w": 4}
ALL, ANY = "a", -1
LIST, ALLOW = "devices.list", "devices.allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which accesses to a device are allowed: ``c 195:0 rwm``; a number may be `ANY`."""

    kind: str
    major: int
    minor: int
    access: str = "rwm"

    def __str__(self) -> str:
        """Return it as the files of cgroup v1 have it."""
        numbers = ":".join("*" if one == ANY else str(one) for one in (self.major, self.minor))
        return f"{self.kind} {numbers} {self.access}"


def bits(access: str) -> int:
    """Return the letters of an access as bits."""
    return sum(bit for letter, bit in ACCESSES.items() if letter in access)


def letters(access: int) -> str:
    """Return the bits of an access as letters, in the usual order."""
    return "".join(letter for letter in "rwm" if ACCESSES[letter] & access)


def questions(access: str) -> Iterator[int]:
    """Return what the kernel asks when an access is used: to read, write, both, or make a node."""
    asked = bits(access)
    both = ACCESSES["r"] | ACCESSES["w"]
    for question in (ACCESSES["r"], ACCESSES["w"], both, ACCESSES["m"]):
        if question & asked == question:
            yield question


def allows(rules: Iterable[Rule], question: int, rule: Rule) -> bool:
    """Whether rules allow an access to a device: one of them has to allow all of it."""
    return any(
        one.kind in (ALL, rule.kind)
        and one.major in (ANY, rule.major)
        and one.minor in (ANY, rule.minor)
        and not question & ~bits(one.access)
        for one in rules
    )


def read(group: str) -> list[Rule]:
    """Read the rules of a group of cgroup v1.  Raises `OSError`."""
    with open(os.path.join(group, LIST), encoding="ascii", errors="replace") as file:
        return parse(file.read())


def parse(text: str) -> list[Rule]:
    """Read devices.list; lines of another form are left out."""
    rules = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        numbers, _, access = rest.partition(" ")
        major, _, minor = numbers.partition(":")
        try:
            pair = [ANY if number == "*" else int(number) for number in (major, minor)]
        except ValueError:
            continue
        rules.append(Rule(kind=kind, major=pair[0], minor=pair[1], access=access.strip()))
    return rules


def allow(group: str, rule: Rule) -> None:
    """Add a rule to a group of cgroup v1; the group above must have it.  Raises `OSError`."""
    descriptor = os.open(os.path.join(group, ALLOW), os.O_WRONLY)
    try:
        os.write(descriptor, str(rule).encode())
    finally:
        os.close(descriptor)
