# SPDX-License-Identifier: Apache-2.0
"""Restore the device rules that the control group of a running container has lost.

What is given is in the container's record, with the numbers of its config.json, and only while the
host's node of that path still has these numbers.

On cgroup v1 a rule is added to a list.  On v2 all programs have to allow, so that each one that
refuses is replaced by one that has our rules in front of the very same instructions: whatever else
it decides stays as it is, also what an administrator or systemd has changed since, and neither the
defaults of a runtime nor config.json have to be taken for what is in force.  A program that is not
understood is left alone.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nvidia_runtime.containers import access, asked, drift, sight
from nvidia_runtime.containers.access import Judge
from nvidia_runtime.containers.asked import Node
from nvidia_runtime.containers.value import MISSING, OK, Drift
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import bpf, control_groups, device_program, device_rules
from nvidia_runtime.linux.control_groups import DEVICES
from nvidia_runtime.linux.device_program import UnknownError
from nvidia_runtime.linux.device_rules import Rule
from nvidia_runtime.oci import lifecycle

Record = dict[str, Any]
LOST, RESTORED, FAILED = "lost", "restored", "failed"
# How our programs' names begin; what follows is the name of the one in whose place it came.
MARK = "nv_"
# What systemd attaches to a unit, and attaches anew when it reloads.
OF_SYSTEMD = "sd_devices"
# systemd may exchange a program while we do.
TRIES = 3
RESTART = "restart the container: its node is another device's by now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """A rule that was missing: ``state`` is `LOST` (nothing was to be done), `RESTORED`, `FAILED`.

    ``name`` is the node's path in the container.
    """

    name: str
    rule: str
    state: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done for a container: nothing was missing where there are no ``rules``.

    ``unit`` is systemd's, which may take rules away again, "" where it has no part in it.
    """

    container: str
    rules: tuple[Rescue, ...] = ()
    unit: str = ""
    doubt: str = ""

    def keeping(self) -> str:
        """Return the command by which systemd keeps the rules that were restored, "" for none."""
        restored = [rule.rule.split(" ") for rule in self.rules if rule.state == RESTORED]
        if not self.unit or not restored:
            return ""
        folders = {"c": "/dev/char", "b": "/dev/block"}
        allowed = [
            f"DeviceAllow={folders[kind]}/{numbers} {letters}"
            for kind, numbers, letters in restored
        ]
        return shlex.join(["systemctl", "set-property", "--runtime", self.unit, *allowed])


def repair(container: str, record: Record, *, dry_run: bool = False) -> Repair:
    """Restore the device rules of a container, unless it is a ``dry_run``.

    Raises `NvidiaRuntimeError` where that cannot even be tried.
    """
    pid = lifecycle.process(container, drift.root_of(record))[1]
    if not pid:
        raise NvidiaRuntimeError("does not run", f"container {container}")
    given = asked.read(record)
    compared = drift.rules(container, pid, given)
    wrong = [one for one in compared if one.state != OK]
    unit = access.unit(control_groups.of_process(pid), container)
    if not dry_run:
        _tidy(container, pid)
    if not wrong:
        return Repair(container=container, unit=unit, doubt=given.doubt)
    nodes = {node.path: node for node in given.nodes}
    reasons = {one.name: _reason(one, nodes[one.name]) for one in wrong}
    if not dry_run:
        wanted = [rule for node in given.nodes if node.access and (rule := _grantable(node))]
        _give(container, pid, wanted, reasons)
        if lifecycle.process(container, drift.root_of(record))[1] != pid:
            raise NvidiaRuntimeError("has ended meanwhile", f"container {container}")
    after = {one.name: one for one in drift.rules(container, pid, given)}
    rules = [_rescue(one, after[one.name], reasons[one.name], dry_run=dry_run) for one in wrong]
    return Repair(container=container, rules=tuple(rules), unit=unit, doubt=given.doubt)


def _grantable(node: Node) -> Rule | None:
    """Return the rule for a node, if the host's node of its path is this very device."""
    rule = drift.rule_of(node)
    pair = (rule.major, rule.minor) if rule else (0, 0)
    is_same = rule and sight.on_host(node) == sight.numbers_of(rule.kind, pair)
    return rule if is_same else None


def _reason(one: Drift, node: Node) -> str:
    """Return why a rule cannot be given, "" if it can."""
    if one.state != MISSING:
        return one.why
    if _grantable(node):
        return ""
    return f"{node.host_path} is {sight.on_host(node)} on the host now: {RESTART}"


def _rescue(before: Drift, after: Drift, reason: str, *, dry_run: bool) -> Rescue:
    state, why = LOST if dry_run else RESTORED, ""
    if reason or (after.state != OK and not dry_run):
        state, why = FAILED, reason or after.why or "it is still refused"
    return Rescue(name=before.name, rule=before.asked, state=state, why=why)


def _give(container: str, pid: int, wanted: Sequence[Rule], reasons: dict[str, str]) -> None:
    """Make all that judges a container allow some rules; what fails is put into the reasons."""
    for _ in range(TRIES):
        try:
            refusing = [judge for judge in access.judges(pid, container) if _refuses(judge, wanted)]
            _check(refusing)
            for judge in refusing:
                _change(judge, container, wanted)
        except NvidiaRuntimeError as error:
            why = f"{error}; {error.hint}" if error.hint else str(error)
            reasons.update({name: why for name, reason in reasons.items() if not reason})
            return
        except FileNotFoundError:  # it was exchanged meanwhile
            continue
        if not any(judge.program for judge in refusing):
            return


def _refuses(judge: Judge, wanted: Sequence[Rule]) -> bool:
    try:
        return any(judge.refuses(rule) for rule in wanted)
    except UnknownError as error:
        hint = "restart the container"
        raise NvidiaRuntimeError(f"is not understood: {error}", str(judge), hint) from None


def _check(refusing: list[Judge]) -> None:
    """Raise an error for what is not the container's alone, before anything has been changed."""
    for judge in refusing:
        if not judge.is_own:
            hint = "it is not the container's alone, and stays as it is"
            raise NvidiaRuntimeError("refuses its devices", str(judge), hint)


def _change(judge: Judge, container: str, wanted: Sequence[Rule]) -> None:
    """Make a judge allow some rules.  Raises `FileNotFoundError` where it is not there any more."""
    try:
        if judge.program is None:
            for group in access.own(judge.group, container):
                for rule in wanted:
                    device_rules.allow(group.folder, rule)
        else:
            _replace(judge, wanted)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unchanged(judge, error) from None


def _unchanged(judge: Judge, error: OSError) -> NvidiaRuntimeError:
    if error.errno == errno.EPERM and judge.group.hierarchy == DEVICES and not os.geteuid():
        above = os.path.dirname(judge.group.folder)
        hint = "its control group, or one above, may be read-only, or lack them itself"
        return NvidiaRuntimeError("cannot be changed: a group above refuses them", above, hint)
    hint = access.ROOT_HINT if error.errno in (errno.EPERM, errno.EACCES) else ""
    return NvidiaRuntimeError(f"cannot be changed: {os_reason(error)}", str(judge), hint)


def _replace(judge: Judge, wanted: Sequence[Rule]) -> None:
    """Put a program in the place of one, which has some rules more; none is ever added.

    Where the group has that very program already, what is in the way just goes: systemd loads the
    same one again whenever it reloads.
    """
    old = judge.program
    if old is None or old.instructions is None:
        return
    instructions = device_program.with_rules(old.instructions, wanted)
    name = old.name if old.name.startswith(MARK) else f"{MARK}{old.name}"
    is_multiple = bool(judge.flags & bpf.F_ALLOW_MULTI)
    with access.opened(judge.group) as group, bpf.opened(old.id) as replaced:
        others = [bpf.read(number) for number in bpf.query(group)[0] if number != old.id]
        if is_multiple and any(other.instructions == instructions for other in others):
            bpf.detach(group, replaced)
            return
        with bpf.loaded(instructions, name) as program:
            bpf.replace(group, program, replaced, judge.flags)


def _tidy(container: str, pid: int) -> None:
    """Take programs of ours away that came in the place of systemd's, where it has a new one.

    It cannot detach them itself, and they would go on to refuse what it allows by now.
    """
    try:
        listed = [judge for judge in access.judges(pid, container) if judge.is_own]
        for judge in listed:
            if not judge.program or judge.program.name != MARK + OF_SYSTEMD:
                continue
            beside = [one.program for one in listed if one.group == judge.group and one.program]
            if any(one.name == OF_SYSTEMD for one in beside):
                with access.opened(judge.group) as group, bpf.opened(judge.program.id) as program:
                    bpf.detach(group, program)
    except (NvidiaRuntimeError, OSError):  # what is to be told of it, the rules will tell
        return
