# SPDX-License-Identifier: Apache-2.0
"""What control groups say of device nodes, on cgroup v1, v2 and both.

All that judges has to allow: the list of a process' group on v1, and each program of its group and
of those above on v2.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import bpf, control_groups, device_program, device_rules
from nvidia_runtime.linux.bpf import Program
from nvidia_runtime.linux.control_groups import DEVICES, Group
from nvidia_runtime.linux.device_program import UnknownError
from nvidia_runtime.linux.device_rules import Rule, bits

ROOT_HINT = "run it as root"
# The kernel has no device programs, or no call to ask for them.
WITHOUT = (errno.EINVAL, errno.ENOSYS)
# Of the group that a process is in and those above, the ones that are the container's alone, the
# outermost first.
Own = Callable[[Group], list[Group]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What has to allow an access: the ``rules`` of a group of v1, or a ``program`` of one of v2.

    ``flags`` are those with which the programs of the group are attached.
    """

    group: Group
    is_own: bool
    rules: tuple[Rule, ...] = ()
    program: Program | None = None
    flags: int = 0

    def allows(self, question: int, rule: Rule) -> bool:
        """Whether it allows an access, as bits.  Raises `UnknownError`."""
        if self.program is None:
            return device_rules.allows(self.rules, question, rule)
        if self.program.instructions is None:
            raise UnknownError("the kernel does not show it")
        return device_program.allows(self.program.instructions, question, rule)

    def refuses(self, rule: Rule) -> bool:
        """Whether it refuses anything of a rule.  Raises `UnknownError`."""
        return not all(
            self.allows(question, rule) for question in device_rules.questions(rule.access)
        )

    def __str__(self) -> str:
        """Return what it is called in messages."""
        if self.program is None:
            return f"{self.group.folder}/{device_rules.LIST}"
        return f"program {self.program.id} of {self.group.folder}"


def judges(pid: int, own: Own) -> list[Judge]:
    """Return all that judges the accesses of a process.

    Raises `NvidiaRuntimeError` where that may not be read.
    """
    listed = []
    for group in control_groups.of_process(pid):
        try:
            if group.hierarchy == DEVICES:
                rules = tuple(device_rules.read(group.folder))
                listed.append(Judge(group=group, is_own=bool(own(group)), rules=rules))
            else:
                listed += _programs(group, own)
        except OSError as error:
            raise unreadable(group, error) from None
    return listed


def unreadable(group: Group, error: OSError) -> NvidiaRuntimeError:
    """Return the error of a control group that may not be read, or changed."""
    hint = ROOT_HINT if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() else ""
    what = f"its device rules cannot be read: {os_reason(error)}"
    return NvidiaRuntimeError(what, group.folder, hint)


def _programs(group: Group, own: Own) -> list[Judge]:
    with opened(group) as descriptor:
        try:
            effective = bpf.query(descriptor, effective=True)[0]
        except OSError as error:
            if error.errno in WITHOUT:
                return []
            raise
    listed = []
    top = Group(hierarchy=group.hierarchy, top=group.top, path="/")
    for one in (top, *group.chain()) if effective else ():
        with opened(one) as descriptor:
            numbers, flags = bpf.query(descriptor)
        for number in numbers:
            if number not in effective:  # of a group below that overrides it
                continue
            try:
                program = bpf.read(number)
            except FileNotFoundError:  # replaced meanwhile
                continue
            is_own = one in own(group)
            listed.append(Judge(group=one, is_own=is_own, program=program, flags=flags))
    return listed


@contextmanager
def opened(group: Group) -> Iterator[int]:
    """Open a group's folder; the descriptor is closed again."""
    descriptor = os.open(group.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def allowed(listed: list[Judge], rule: Rule) -> tuple[str, str]:
    """Return what of a rule is allowed, as letters, and why it is not known, "" if it is.

    What one judge refuses is refused, whatever the others say.
    """
    doubt, refused = "", 0
    for question in device_rules.questions(rule.access):
        for judge in listed:
            try:
                is_refused = not judge.allows(question, rule)
            except UnknownError as error:
                doubt = f"{judge} is not understood: {error}"
                continue
            if is_refused and not question & refused:
                # Of both at once only one counts as refused: each alone is allowed.
                refused |= question & ~bits("r") or question
    letters = device_rules.letters(bits(rule.access) & ~refused)
    return letters, "" if refused else doubt
