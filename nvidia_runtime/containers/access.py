# SPDX-License-Identifier: Apache-2.0
"""What the control groups of a container say of device nodes, on cgroup v1, v2 and both.

All that judges has to allow: the list of its group on v1, and each program of its group and of
those above on v2.  Its own groups are the innermost that has its id in the name, as all engines
name them, and what is in it: only these are the container's alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import bpf, control_groups, device_program, device_rules
from nvidia_runtime.linux.bpf import Program
from nvidia_runtime.linux.control_groups import DEVICES, Group
from nvidia_runtime.linux.device_program import UnknownError
from nvidia_runtime.linux.device_rules import Rule, bits

ROOT_HINT = "run it as root"
SCOPE = ".scope"
# Of an id behind any word: engines make ids of this size at least, others are chosen by hand.
SHORTEST_ID = 12
RUNTIMES = ("runc", "crun")
# The kernel has no device programs, or no call to ask for them.
WITHOUT = (errno.EINVAL, errno.ENOSYS)


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


def judges(pid: int, container: str) -> list[Judge]:
    """Return all that judges the accesses of a container.

    Raises `NvidiaRuntimeError` where that may not be read.
    """
    listed = []
    for group in control_groups.of_process(pid):
        try:
            if group.hierarchy == DEVICES:
                rules = tuple(device_rules.read(group.folder))
                listed.append(Judge(group=group, is_own=_is_own(group, container), rules=rules))
            else:
                listed += _programs(group, container)
        except OSError as error:
            raise unreadable(group, error) from None
    return listed


def unreadable(group: Group, error: OSError) -> NvidiaRuntimeError:
    """Return the error of a control group that may not be read, or changed."""
    hint = ROOT_HINT if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() else ""
    what = f"its device rules cannot be read: {os_reason(error)}"
    return NvidiaRuntimeError(what, group.folder, hint)


def _programs(group: Group, container: str) -> list[Judge]:
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
            is_own = one in own(group, container)
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


def own(group: Group, container: str) -> list[Group]:
    """Return the groups that are a container's alone, the outermost first; it is in ``group``."""
    chain = group.chain()
    for index in range(len(chain) - 1, -1, -1):
        if is_named_after(os.path.basename(chain[index].path), container):
            return chain[index:]
    return []


def is_named_after(name: str, container: str) -> bool:
    """Whether a group's name is a container's: ID, or as engines name a unit, docker-ID.scope."""
    stem = name.removesuffix(SCOPE)
    if not container or stem == container:
        return bool(container)
    prefix = stem.removesuffix(f"-{container}")
    # session-1.scope is a user's, not that of a container 1.
    return prefix != stem and (len(container) >= SHORTEST_ID or prefix in RUNTIMES)


def unit(groups: list[Group], container: str) -> str:
    """Return the unit of systemd's that has a container, "" if systemd has no part in it."""
    for group in groups:
        for one in own(group, container):
            name = os.path.basename(one.path)
            if name.endswith(SCOPE) and is_named_after(name, container):
                return name
    return ""


def _is_own(group: Group, container: str) -> bool:
    return bool(own(group, container))


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
