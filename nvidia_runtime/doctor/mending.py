# SPDX-License-Identifier: Apache-2.0
"""Fixes of findings: calls of nvidia-ctk, before which what they change is kept in a journal.

The journal lies beside that of engines' files, and is its owner's alone.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nvidia_runtime.doctor import keepsake
from nvidia_runtime.engines import journal
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nvidia_runtime.doctor.finding import Finding, Fix

    Run = Callable[[tuple[str, ...]], None]

NAME = "doctor.json"
VERSION = 1
MOST_ENTRIES = 32
MOST_BYTES = 64 << 20


@dataclass(slots=True, kw_only=True)
class Entry:
    """A fix that was done; ``after`` is empty where it was interrupted."""

    code: str
    words: tuple[str, ...]
    undo: tuple[str, ...] = ()
    before: dict[str, keepsake.Keepsake] = field(default_factory=dict)
    after: dict[str, keepsake.Keepsake] = field(default_factory=dict)


def wanted(findings: Iterable[Finding]) -> Iterator[tuple[Finding, Fix]]:
    """Return the findings that can be mended, each call once."""
    calls = set()
    for finding in findings:
        if finding.fix and finding.fix.words not in calls:
            calls.add(finding.fix.words)
            yield finding, finding.fix


def mend(finding: Finding, fix: Fix, run: Run) -> None:
    """Do what mends a finding; what it changes is kept first.

    Raises `NvidiaRuntimeError` where nothing was done, or where ``run`` raises one.
    """
    entries = read()
    entry = Entry(code=finding.code.id, words=fix.words, undo=fix.undo, before=_kept(fix))
    entries.append(entry)
    _write(entries)
    try:
        run(fix.words)
    finally:
        entry.after = _kept(fix)
        if entry.after == entry.before and not fix.undo:
            entries.remove(entry)  # nothing was changed, so there is nothing to undo
        _write(entries)


def _kept(fix: Fix) -> dict[str, keepsake.Keepsake]:
    return {path: keepsake.of(path) for path in fix.files}


def undo(run: Run) -> tuple[list[Entry], list[str]]:
    """Undo all fixes, the last one first; return them, and the paths that were changed since.

    Those are left as they are.  Raises `NvidiaRuntimeError` where something cannot be undone; what
    comes before it in the journal stays there.
    """
    entries = read()
    undone, changed = [], []
    while entries:
        entry = entries[-1]
        if entry.undo:
            run(entry.undo)
        for path, before in reversed(entry.before.items()):
            after = entry.after.get(path) or keepsake.of(path)
            changed += keepsake.put_back(path, before, after)
        undone.append(entries.pop())
        _write(entries)
    return undone, changed


def read() -> list[Entry]:
    """Return the fixes that can be undone, the last one last.

    Raises `NvidiaRuntimeError` for a journal that others may have written, or a damaged one.
    """
    path = os.path.join(journal.folder(), NAME)
    hint = "move it away; what it says cannot be undone then"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(descriptor, encoding="utf-8") as file:
            status = os.fstat(descriptor)
            is_ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
            if not is_ours or not stat.S_ISREG(status.st_mode):
                raise NvidiaRuntimeError("others may have written it", path, hint)
            document = json.loads(file.read(2 * MOST_BYTES))
        if document["version"] != VERSION:
            raise NvidiaRuntimeError("another version of nvidia-ctk wrote it", path, hint)
        return [_entry(values) for values in document["fixes"]]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path, hint) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NvidiaRuntimeError("it is damaged", path, hint) from None


def _entry(values: dict[str, Any]) -> Entry:
    return Entry(
        code=str(values["code"]),
        words=tuple(map(str, values["words"])),
        undo=tuple(map(str, values["undo"])),
        before=dict(values["before"]),
        after=dict(values["after"]),
    )


def _write(entries: list[Entry]) -> None:
    folder = journal.folder()
    path = os.path.join(folder, NAME)
    document = {"version": VERSION, "fixes": [asdict(entry) for entry in entries[-MOST_ENTRIES:]]}
    try:
        if not entries:
            _remove(path)
            return
        data = json.dumps(document).encode() + b"\n"
        if len(data) > MOST_BYTES:
            raise NvidiaRuntimeError("it would be too large", path)
        os.makedirs(folder, 0o700, exist_ok=True)
        files.replace(os.path.realpath(path), data, sync=True)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
