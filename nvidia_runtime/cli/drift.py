# SPDX-License-Identifier: Apache-2.0
"""What a container has now of what it was given, as `nvidia-ctk explain` shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from nvidia_runtime.containers import drift
from nvidia_runtime.containers.drift import Now
from nvidia_runtime.containers.value import (
    DEVICE,
    DIFFERENT,
    LIBRARY,
    MISSING,
    MOUNT,
    OK,
    RULE,
    UNKNOWN,
    VARIABLE,
    Drift,
)

Record = dict[str, Any]
NAMES = {
    DEVICE: "device",
    RULE: "device rule",
    MOUNT: "mount",
    LIBRARY: "library",
    VARIABLE: "variable",
}
MANY = {LIBRARY: "libraries"}


def document(container: str, record: Record) -> Record:
    """Return what a container has now, for programs; nothing if it does not run."""
    now = drift.of(container, record)
    if not now.pid:
        return {}
    things = [asdict(one) for one in now.drifts]
    return {"now": {"pid": now.pid, "doubt": now.doubt, "things": things}}


def lines(container: str, record: Record) -> list[str]:
    """Return what a container has now, as text: one line if it is as it was made."""
    now = drift.of(container, record)
    if not now.pid:
        return []
    wrong = now.of(MISSING, DIFFERENT)
    doubts = Counter(one.why for one in now.of(UNKNOWN))
    lines = [f"now        {_summary(now, wrong, doubts)}"]
    lines += [f"  {one.state}  {_wrong(one)}" for one in wrong]
    if wrong or now.of(OK):
        lines += [f"  unknown  {_things(count)}: {why}" for why, count in doubts.items()]
    if now.doubt:
        lines.append(f"  unknown  {now.doubt}")
    return lines


def _summary(now: Now, wrong: list[Drift], doubts: Counter[str]) -> str:
    if wrong:
        help_text = "; 'nvidia-ctk repair' can help" if now.lost_rules() else ""
        return f"{len(wrong)} of {_things(len(now.drifts))} are not as given{help_text}"
    counts = Counter(one.kind for one in now.of(OK))
    if not counts:
        return f"unknown: {', '.join(doubts) or 'nothing is recorded'}"
    named = [
        counted(counts[kind], name, MANY.get(kind, ""))
        for kind, name in NAMES.items()
        if counts[kind]
    ]
    return f"all {'that can be seen ' if doubts else ''}as given: {', '.join(named)}"


def _wrong(one: Drift) -> str:
    name = f"{NAMES[one.kind]} {one.name}"
    if one.kind == RULE:
        left = one.got.rpartition(" ")[2]
        return f"device rule {one.asked} of {one.name}{f', only {left} is left' if left else ''}"
    if one.why:
        return f"{name}: {one.why}"
    return f"{name} is {one.got}, not {one.asked}" if one.state == DIFFERENT else name


def counted(count: int, name: str, many: str = "") -> str:
    """Return a number of things, with the right form of their name."""
    return f"{count} {name if count == 1 else many or f'{name}s'}"


def _things(count: int) -> str:
    return counted(count, "thing")
