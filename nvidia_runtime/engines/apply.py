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


NO_WAY_BACK = "no backup, and no way back but the toolkit's"
AS_IF_DONE = "the journal has a change that was not made"
AS_IF_NOT_DONE = "the journal does not say that the change was taken back"


def configure(
    engine: Engine, intent: Intent, plan: ChangeSet, warn: Callable[[str], None]
) -> list[str]:
    """Write what a plan changes, and remember how it was; return the files that were written.

    The journal comes first: of a run that is killed, all can be taken back.
    """
    old = journal.entries()
    changes = _needed(plan)
    entries: Entries = {
        os.path.realpath(change.path): _entry(engine, intent.name, change, old)
        for change in changes
    }
    is_kept = bool(changes) and _back_up(changes, warn) and _note(entries, NO_WAY_BACK, warn)
    try:
        _carry_out(engine, intent, changes, warn)
    except BaseException:
        if is_kept:
            _note({path: old.get(path) for path in entries}, AS_IF_DONE, warn)
        raise
    return [change.path for change in changes]


def unconfigure(
    engine: Engine, intent: Intent, plan: ChangeSet, warn: Callable[[str], None], name: str = ""
) -> list[str]:
    """Write what a plan takes back, all or one name, and remember that it was.

    The journal comes last: after a run that is killed, the next one goes on.
    """
    old = journal.entries()
    changes = _needed(plan)
    entries: Entries = {}
    folders: list[str] = []
    for change in plan.changes:
        path = os.path.realpath(change.path)
        entry = old.get(path)
        # Also of a file in which there is nothing to do: what it has is not ours.
        entries[path] = _undone(engine, entry, change, name)
        if entry and not entries[path]:
            folders += entry.folders
        write.discard(path)
    if changes:
        _back_up(changes, warn)
    _carry_out(engine, intent, changes, warn)
    for folder in sorted(folders, key=len, reverse=True):
        write.remove_folder(folder)
    if changes or any(path in old and old[path] != entry for path, entry in entries.items()):
        _note(entries, AS_IF_NOT_DONE, warn)
    return [change.path for change in changes]


def _needed(plan: ChangeSet) -> list[Change]:
    return [change for change in plan.changes if change.is_needed]


def _undone(engine: Engine, entry: Entry | None, change: Change, name: str) -> Entry | None:
    """Return what is left to know of a file; None is nothing."""
    if change.after is None:
        return None
    if entry and not entry.is_undone and name and set(entry.runtimes) - {name}:
        left = tuple(runtime for runtime in entry.runtimes if runtime != name)
        return replace(entry, after=change.after, runtimes=left)
    return Entry(engine=engine.name, before=None, after=change.after, is_undone=True)


def _carry_out(
    engine: Engine, intent: Intent, changes: list[Change], warn: Callable[[str], None]
) -> None:
    def objection() -> str:
        if intent.root:  # the engine has other paths for what it would judge
            return ""
        return judge.objection(engine, intent.config, intent.drop_in, intent.executable)

    if not changes:
        return
    earlier = objection()
    hint = f"its backup is in {journal.folder()}/{journal.BACKUPS}"
    write.carry_out(changes, (lambda: "") if earlier else objection, hint)
    if earlier:
        warn(f"the engine cannot judge the change, since it objected before: {earlier}")


def _back_up(changes: list[Change], warn: Callable[[str], None]) -> bool:
    """Keep backups before anything is written; whether there is a place for them."""
    if problem := journal.problem():
        where = os.path.join(journal.folder(), journal.NAME)
        backups = os.path.join(journal.folder(), journal.BACKUPS)
        warn(f"{where} cannot be used: {problem}; old files may be in {backups}")
    try:
        for change in changes:
            if change.before is not None:
                journal.back_up(os.path.realpath(change.path), change.before)
    except NvidiaRuntimeError as error:
        warn(f"{NO_WAY_BACK}: {error}")
        return False
    return True


def _note(entries: Entries, otherwise: str, warn: Callable[[str], None]) -> bool:
    """Write the journal, or say what it means that it cannot be written."""
    try:
        journal.write(entries)
    except NvidiaRuntimeError as error:
        warn(f"{otherwise}: {error}")
        return False
    return True


def _entry(engine: Engine, name: str, change: Change, entries: dict[str, Entry]) -> Entry:
    """Remember what a file is without us: over several runs, and edits of others between them."""
    old = entries.get(os.path.realpath(change.path))
    if old and (old.is_undone or old.engine != engine.name):
        old = None
    # Those that an earlier run made, perhaps in front of the file itself, count too.
    folders = tuple(
        dict.fromkeys((*(old.folders if old else ()), *write.missing_folders(change.path)))
    )
    before, names = change.before, [name]
    if old and before is not None:
        before = undo.text_without_us(engine, old, before, change.path)[0]
        names = list(dict.fromkeys((*old.runtimes, name)))
    return Entry(
        engine=engine.name,
        before=before,
        after=change.after,
        runtimes=tuple(names),
        folders=folders,
    )
