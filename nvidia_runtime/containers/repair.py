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

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nvidia_runtime.containers import access, asked, drift, sight
from nvidia_runtime.containers.asked import Node
from nvidia_runtime.containers.value import MISSING, OK, Drift
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import bpf, control_groups, device_grant, device_judges
from nvidia_runtime.linux.device_rules import Rule
from nvidia_runtime.oci import lifecycle

Record = dict[str, Any]
LOST, RESTORED, FAILED = "lost", "restored", "failed"
# What systemd attaches to a unit, and attaches anew when it reloads.
OF_SYSTEMD = "sd_devices"
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
    try:
        device_grant.give(pid, lambda group: access.own(group, container), wanted)
    except NvidiaRuntimeError as error:
        why = f"{error}; {error.hint}" if error.hint else str(error)
        reasons.update({name: why for name, reason in reasons.items() if not reason})


def _tidy(container: str, pid: int) -> None:
    """Take programs of ours away that came in the place of systemd's, where it has a new one.

    It cannot detach them itself, and they would go on to refuse what it allows by now.
    """
    try:
        listed = [judge for judge in access.judges(pid, container) if judge.is_own]
        for judge in listed:
            if not judge.program or judge.program.name != device_grant.MARK + OF_SYSTEMD:
                continue
            beside = [one.program for one in listed if one.group == judge.group and one.program]
            if any(one.name == OF_SYSTEMD for one in beside):
                with (
                    device_judges.opened(judge.group) as group,
                    bpf.opened(judge.program.id) as program,
                ):
                    bpf.detach(group, program)
    except (NvidiaRuntimeError, OSError):  # what is to be told of it, the rules will tell
        return
