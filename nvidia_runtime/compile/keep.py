# SPDX-License-Identifier: Apache-2.0
"""The files of the state folder: written whole, if what they were made from does not change."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from nvidia_runtime.cdi import edits as cdi_edits
from nvidia_runtime.store import files, record

MOST_FILES = 16
# Of each, all but the youngest are dropped.
KEPT = ("snapshot-", "machine-")
# What killed processes leave, of this and of older versions.
LEFT = (".snapshot-", ".machine-")
# A file changed so shortly ago could change again without a change of its times: the kernel's clock
# of file times ticks every 1 to 10 ms, some file systems count whole seconds.
SETTLED_NS = 50_000_000
SETTLED_SECONDS_NS = 2_000_000_000


def text(value: object) -> str:
    """Return a field of a line: compact JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":"))


def edits(part: dict[str, Any]) -> str:
    """Return the edits of a spec, or of a device of one, in the runtime-spec's form."""
    return text(cdi_edits.prepare(part.get("containerEdits") or {}))


def is_settled(stamps: list[list[Any]], began: int) -> bool:
    """Whether no file was changed while we read it, or so shortly before that we could not tell."""
    for name, *numbers in stamps:
        if (files.stamp(name) or []) != numbers:
            return False
        if is_recent(numbers, began):
            return False
    return True


def is_recent(stamp: files.Stamp, now: int) -> bool:
    """Whether a file could change again, now, with the same times.

    Its ctime tells, which every change sets; some file systems have none, and there mtime does.  A
    time of tomorrow is not set by a change of today.
    """
    if not stamp:
        return False  # what is not there has no time
    changed = stamp[4] or stamp[3]
    clock = SETTLED_SECONDS_NS if changed % 1_000_000_000 == 0 else SETTLED_NS
    return now - clock < changed < now + files.FUTURE_NS


def keep(file: str, data: bytes) -> None:
    """Write a file into the state folder; without one everything still works, only slower."""
    if not file:
        return
    try:
        files.replace(file, data)
        _tidy(os.path.dirname(file))
    except OSError:
        return


def _tidy(folder: str) -> None:
    """Drop the oldest snapshots, what killed processes left, and all but the youngest records."""
    for entry in os.scandir(folder):
        left = entry.name.startswith(LEFT) and time.time() - entry.stat().st_mtime > 60
        if left:
            os.unlink(entry.path)
    for prefix in KEPT:
        kept = [entry for entry in os.scandir(folder) if entry.name.startswith(prefix)]
        kept.sort(key=lambda entry: entry.stat().st_mtime_ns)
        for entry in kept[:-MOST_FILES]:
            os.unlink(entry.path)
    if os.path.isdir(f"{folder}/{record.CREATED}"):
        record.prune(f"{folder}/{record.CREATED}")
