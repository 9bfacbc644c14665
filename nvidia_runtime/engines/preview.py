# SPDX-License-Identifier: Apache-2.0
"""What would be written, as a unified diff."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nvidia_runtime.engines.write import Change

COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m"}
BOLD = "\033[1m"
END = "\033[0m"


def diff(change: Change, *, has_colour: bool) -> str:
    """Return a unified diff of one file, "" where nothing changes."""
    old, new = (_lines(text) for text in (change.before, change.after))
    names = ["/dev/null" if text is None else change.path for text in (change.before, change.after)]
    lines = list(difflib.unified_diff(old, new, fromfile=names[0], tofile=names[1]))
    if has_colour:
        lines = [_coloured(line, number) for number, line in enumerate(lines)]
    return "".join(lines)


def _lines(text: str | None) -> list[str]:
    """Split at LF only, so that CR stays in its line; mark a last line without an end."""
    lines = [f"{line}\n" for line in (text or "").split("\n")]
    last = lines.pop()
    return lines if last == "\n" else [*lines, f"{last}\\ No newline at end of file\n"]


def _coloured(line: str, number: int) -> str:
    colour = BOLD if number < 2 else COLOURS.get(line[0], "")
    return f"{colour}{line[:-1]}{END}\n" if colour else line
