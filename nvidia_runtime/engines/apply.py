# SPDX-License-Identifier: Apache-2.0
"""Carry a plan out: backups, the journal, the files, and what the engine says to them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from nvidia_runtime.engines import journal, judge, undo, write
from nvidia_runtime.engines.journal import Entry
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.engines.engine import ChangeSet, Engine, Intent
    from nvidia_runtime.engines.write import Change

    Entries = dict[str, Entry | None]


def configure(
    engine: Engine, intent: Intent, plan: ChangeSet, warn: Callable[[str], None]
) -> list[str]:
    """Write what a plan changes, and remember how it was; return the files that were written."""
    old = journal.entries()
    entries: Entries = {
        os.path.realpath(change.path): _entry(engine, intent.name, change, old)
        for change in plan.changes
        if change.is_needed
    }
    return _carry_out(engine, intent, plan, entries, warn)


def unconfigure(
    engine: Engine, intent: Intent, plan: ChangeSet, warn: Callable[[str], None], name: str = ""
) -> list[str]:
    """Write what a plan takes back, all or one name, and remember that it was."""
    old = journal.entries()
    entries: Entries = {}
    folders: list[str] = []
    for change in plan.changes:
        path = os.path.realpath(change.path)
        entry = old.get(path)
        # Also of a file in which there is nothing to do: what it has is not ours.
        entries[path] = _undone(engine, entry, change, name)
        if entry and not entries[path]:
            folders += entry.folders
    written = _carry_out(engine, intent, plan, entries, warn)
    for folder in sorted(folders, key=len, reverse=True):
        write.remove_folder(folder)
    return written


def _undone(engine: Engine, entry: Entry | None, change: Change, name: str) -> Entry | None:
    """Return what is left to know of a file; None is nothing."""
    if change.after is None:
        return None
    if entry and not entry.is_undone and name and set(entry.runtimes) - {name}:
        left = tuple(runtime for runtime in entry.runtimes if runtime != name)
        return replace(entry, after=change.after, runtimes=left)
    return Entry(engine=engine.name, before=None, after=change.after, is_undone=True)


def _carry_out(
    engine: Engine, intent: Intent, plan: ChangeSet, entries: Entries, warn: Callable[[str], None]
) -> list[str]:
    changes = [change for change in plan.changes if change.is_needed]
    if not changes:
        return []

    def objection() -> str:
        return judge.objection(engine, intent.config, intent.drop_in, intent.executable)

    earlier = objection()
    before = journal.entries()
    is_kept = _remember(changes, entries, warn)
    try:
        folders = write.carry_out(changes, (lambda: "") if earlier else objection)
    except BaseException:
        if is_kept:
            journal.write({path: before.get(path) for path in entries})
        raise
    if is_kept and folders:
        journal.write(_with_folders(entries, folders))
    if earlier:
        warn(f"the engine cannot judge the change, since it objected before: {earlier}")
    return [change.path for change in changes]


def _remember(changes: list[Change], entries: Entries, warn: Callable[[str], None]) -> bool:
    """Keep backups and journal before anything is written; whether there is a place for them."""
    if problem := journal.problem():
        where = os.path.join(journal.folder(), journal.NAME)
        backups = os.path.join(journal.folder(), journal.BACKUPS)
        warn(f"{where} cannot be used: {problem}; old files may be in {backups}")
    try:
        for change in changes:
            if change.before is not None:
                journal.back_up(os.path.realpath(change.path), change.before)
        journal.write(entries)
    except NvidiaRuntimeError as error:
        warn(f"no backup, and no way back but the toolkit's: {error}")
        return False
    return True


def _entry(engine: Engine, name: str, change: Change, entries: dict[str, Entry]) -> Entry:
    """Remember what a file is without us: over several runs, and edits of others between them."""
    old = entries.get(os.path.realpath(change.path))
    if old is None or old.is_undone or old.engine != engine.name or change.before is None:
        return Entry(engine=engine.name, before=change.before, after=change.after, runtimes=(name,))
    return Entry(
        engine=engine.name,
        before=undo.text_without_us(engine, old, change.before, change.path)[0],
        after=change.after,
        runtimes=tuple(dict.fromkeys((*old.runtimes, name))),
        folders=old.folders,
    )


def _with_folders(entries: Entries, folders: list[str]) -> Entries:
    """Note with each file which of the new folders lead to it."""
    new = dict(entries)
    for path, entry in entries.items():
        if entry:
            own = [folder for folder in folders if path.startswith(f"{os.path.realpath(folder)}/")]
            new[path] = replace(entry, folders=(*entry.folders, *own))
    return new
