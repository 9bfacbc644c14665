# SPDX-License-Identifier: Apache-2.0
"""What became of the hooks of CDI specs, by a container's record: few run in the container."""

from __future__ import annotations

from typing import Any

from nvidia_runtime.prepare import takeover, verbs

Record = dict[str, Any]
DONE = "done on the host"
NOT_NEEDED = "not needed"
PARTLY = "partly done on the host"


def lines(hook: Record, stage: str, record: Record, most: int | None) -> list[str]:
    """Return a line for each step of a hook that we understand, else one for the hook.

    Words beyond ``most`` are left out.
    """
    words = list(map(str, hook.get("args") or [hook.get("path", "")]))
    fates = steps(hook, record)
    if not fates:
        return [f"{stage}: {_shortened(words, most)}"]
    most = most and most - 1  # without the program
    return [f"{fate or stage}: {_shortened(said.split(' '), most)}" for said, fate in fates]


def steps(hook: Record, record: Record) -> list[tuple[str, str]]:
    """Return the steps of a hook, and what became of each: "" is one that a hook still does.

    There are none if the hook is in the container as it stands.
    """
    hooks = record.get("hooks")
    if not isinstance(hooks, dict):
        return []
    left = [said for stage in hooks.get("left", {}).values() for said in stage]
    idle = hooks.get("idle", [])
    return [
        (said, _fate(said, step.verb, left, idle))
        for step in takeover.understood(hook)
        for said in [verbs.said(step)]
    ]


def _fate(said: str, verb: str, left: list[str], idle: list[str]) -> str:
    if said in left:
        return ""
    if any(other.partition(" ")[0] == verb for other in left):
        return PARTLY
    return NOT_NEEDED if verb in idle else DONE


def _shortened(words: list[str], most: int | None) -> str:
    return " ".join(words[:most]) + (" …" if words[most or len(words) :] else "")
