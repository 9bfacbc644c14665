# SPDX-License-Identifier: Apache-2.0
"""What containers have of what they were given.

A driver's update, ``systemctl daemon-reload`` or an engine's ``update`` takes things away from a
container that runs, above all the rules of its control group for the driver's nodes: "Failed to
initialize NVML: Unknown Error".
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from nvidia_runtime.containers import access, asked, sight
from nvidia_runtime.containers.asked import Asked, Node
from nvidia_runtime.containers.value import MISSING, OK, RULE, UNKNOWN, Drift
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import device_judges
from nvidia_runtime.linux.device_judges import Judge
from nvidia_runtime.linux.device_rules import Rule
from nvidia_runtime.oci import lifecycle
from nvidia_runtime.store import files

Record = dict[str, Any]
PATIENCE = 3.0
LARGEST = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What a container has: ``pid`` is 0 unless it runs, and then nothing is compared.

    ``doubt`` says why a part of what it was given is not known, "" if all is.
    """

    container: str
    pid: int
    drifts: tuple[Drift, ...] = ()
    doubt: str = ""

    def of(self, *states: str) -> list[Drift]:
        """Return what is in one of some states."""
        return [drift for drift in self.drifts if drift.state in states]

    def lost_rules(self) -> list[Drift]:
        """Return the device rules that it has no longer."""
        return [drift for drift in self.of(MISSING) if drift.kind == RULE]


def of_running(patience: float = PATIENCE, folder: str = "") -> list[Now]:
    """Compare all containers that run and have a record, within ``patience`` seconds together.

    Of those for which no time is left, only the device rules are compared.  ``folder`` has the
    records, "" for where the runtime writes them.
    """
    deadline, nows = time.monotonic() + patience, []
    for container, record in running(folder):
        now = of(container, record, max(deadline - time.monotonic(), 0))
        if now.pid:
            nows.append(now)
    return nows


def running(folder: str = "") -> Iterator[tuple[str, Record]]:
    """Read the records of the containers that run; what cannot be read is left out."""
    state = files.state_folder()
    folder = folder or (os.path.join(state, "containers") if state else os.devnull)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        container, suffix = os.path.splitext(name)
        if suffix != ".json" or container.startswith("."):
            continue
        try:
            with open(os.path.join(folder, name), "rb") as file:
                record = json.loads(file.read(LARGEST))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(record, dict) and lifecycle.process(container, root_of(record))[1]:
            yield container, record


def of(container: str, record: Record, patience: float = PATIENCE) -> Now:
    """Compare what a container was given with what it has.

    Nothing is raised: what cannot be compared is unknown.
    """
    pid = lifecycle.process(container, root_of(record))[1]
    if not pid:
        return Now(container=container, pid=0)
    given = asked.read(record)
    deadline = time.monotonic() + max(patience, PATIENCE)
    drifts = [*sight.look(pid, given, patience), *rules(container, pid, given, deadline)]
    if lifecycle.process(container, root_of(record))[1] != pid:  # it may be another's by now
        return Now(container=container, pid=0)
    return Now(container=container, pid=pid, drifts=tuple(drifts), doubt=given.doubt)


def root_of(record: Record) -> str:
    """Return the folder in which the low-level runtime keeps the state of a record's container."""
    return str(record.get("root") or "")


def rules(container: str, pid: int, given: Asked, deadline: float = float("inf")) -> list[Drift]:
    """Compare the device rules of a container until a time; thousands take some seconds."""
    nodes = [node for node in given.nodes if node.access]
    try:
        judges = access.judges(pid, container) if nodes else []
    except NvidiaRuntimeError as error:
        why = str(error)
        return [Drift(kind=RULE, name=node.path, state=UNKNOWN, why=why) for node in nodes]
    return [
        _rule(node, judges)
        if time.monotonic() < deadline
        else Drift(kind=RULE, name=node.path, state=UNKNOWN, why="there are too many rules")
        for node in nodes
    ]


def _rule(node: Node, judges: list[Judge]) -> Drift:
    rule = rule_of(node)
    if rule is None:
        why = "config.json does not say which device it was, and the host has none by its path"
        return Drift(kind=RULE, name=node.path, state=UNKNOWN, why=why)
    letters, doubt = device_judges.allowed(judges, rule)
    got = str(replace(rule, access=letters)) if letters else ""
    state = OK if letters == rule.access else MISSING
    if doubt:
        state, got = UNKNOWN, ""
    return Drift(kind=RULE, name=node.path, asked=str(rule), got=got, state=state, why=doubt)


def rule_of(node: Node) -> Rule | None:
    """Return the rule for a node, by the numbers that it was given, or that the host has."""
    if node.numbers:
        major, minor = node.numbers
        return Rule(kind=node.kind, major=major, minor=minor, access=node.access)
    words = sight.on_host(node).replace(":", " ").split()
    if len(words) != 3 or words[0] not in "cb":
        return None
    return Rule(kind=words[0], major=int(words[1]), minor=int(words[2]), access=node.access)
