# SPDX-License-Identifier: Apache-2.0
"""Two changes of one text put together, where they are in different lines."""

from __future__ import annotations

from difflib import SequenceMatcher

MOST_LINES = 10_000  # comparing takes the square of them at worst


def both(base: str, one: str, other: str) -> str | None:
    """Return a text that has what each of two others changed, None where that is in one place."""
    lines = base.split("\n")
    if max(len(lines), one.count("\n"), other.count("\n")) > MOST_LINES:
        return None
    changes = [change for text in (one, other) for change in _changes(lines, text.split("\n"))]
    merged: list[str] = []
    at = 0
    for start, stop, new in sorted(changes, key=lambda change: change[:2]):
        if start < at:
            return None
        merged += lines[at:start] + new
        at = stop
    return "\n".join(merged + lines[at:])


def _changes(old: list[str], new: list[str]) -> list[tuple[int, int, list[str]]]:
    """List what to put in place of which lines."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [
        (start, stop, new[first:last])
        for tag, start, stop, first, last in matcher.get_opcodes()
        if tag != "equal"
    ]
