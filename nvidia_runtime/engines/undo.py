# SPDX-License-Identifier: Apache-2.0
"""Take back what configuring an engine did: exactly by the journal, else as the toolkit removes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.engines import difference, journal, merge, runtimes, write
from nvidia_runtime.engines.difference import ABSENT
from nvidia_runtime.engines.engine import ChangeSet
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.engines.difference import Document
    from nvidia_runtime.engines.engine import Engine, Intent
    from nvidia_runtime.engines.journal import Entry


def plan(engine: Engine, intent: Intent, name: str = "") -> ChangeSet:
    """Return what taking our runtime out of an engine's files changes.

    Without a name everything that the journal knows is taken back.
    """
    paths = [path for path in (intent.config, intent.drop_in) if path]
    journaled = journal.entries()
    entries = {path: journaled.get(os.path.realpath(path)) for path in paths}
    texts = {path: write.read(path) for path in paths}
    active = {
        path: entry
        for path, entry in entries.items()
        if entry and not entry.is_undone and entry.engine == engine.name
    }
    others = {other for entry in active.values() for other in entry.runtimes if other != name}
    if active and not (name and others):
        created = {path for path, entry in active.items() if entry.before is None}
        return engine.undone(intent, _by_journal(engine, active, texts), created)
    changes = []
    for path in reversed(paths):  # the drop-in first: what is left of the file depends on it
        before, entry = texts[path], entries[path]
        after = before
        if before is not None and not _was_restored(engine, entry, before, path, intent.name):
            after = _as_the_toolkit(engine, intent, path, before)
        changes.append(Change(path, before, after))
    return engine.undone(intent, ChangeSet(changes=tuple(reversed(changes))), set())


def _by_journal(
    engine: Engine, entries: dict[str, Entry], texts: dict[str, str | None]
) -> ChangeSet:
    changes: list[Change] = []
    warnings: list[str] = []
    for path, before in texts.items():
        entry, after = entries.get(path), before
        kept: list[str] = []
        if entry and before is not None:
            after, kept = text_without_us(engine, entry, before, path)
        changes.append(Change(path, before, after))
        warnings += [f"{path}: {place} was changed since and stays" for place in kept]
    return ChangeSet(changes=tuple(changes), warnings=tuple(warnings))


def text_without_us(
    engine: Engine, entry: Entry, now: str, path: str
) -> tuple[str | None, list[str]]:
    """Return a file's text without what we did to it, and the places that others changed since."""
    if now == entry.after:
        return entry.before, []
    was, became = entry.before or "", entry.after or ""
    document, before, after = (engine.format.parse(text, path) for text in (now, was, became))
    places = engine.places_in(after, path)
    left, kept = difference.undone(before, after, document, places.runtimes)
    merged = merge.both(became, was, now) if entry.before is not None else None
    if merged is not None and _says(engine, merged, left, path):
        return merged, [".".join(place) for place in kept]
    if entry.before is None and difference.at(left, places.runtimes[:2]) not in (ABSENT, {}):
        # An engine may take such a table from one file alone: a part of it would be the whole.
        left = document
        for name in entry.runtimes:
            left = runtimes.without_runtime(left, places, name)
    text = engine.format.tidied(engine.format.edited(now, left, path), was, became)
    is_empty = not left.keys() - {places.version}
    return (
        None if entry.before is None and is_empty else text,
        [".".join(place) for place in kept],
    )


def _says(engine: Engine, text: str, document: Document, path: str) -> bool:
    """Whether a text says what a document does."""
    try:
        read = engine.format.parse(text, path)
    except NvidiaRuntimeError:
        return False
    return difference.is_same(difference.pruned(read), difference.pruned(document))


def _was_restored(engine: Engine, entry: Entry | None, now: str, path: str, name: str) -> bool:
    """Whether what is there of a name is what we put back, and thus not ours to remove."""
    if entry is None or not entry.is_undone or entry.engine != engine.name:
        return False
    if now == entry.after:
        return True
    document, restored = (engine.format.parse(text, path) for text in (now, entry.after or ""))
    place = (*engine.places_in(document, path).runtimes, name)
    value = difference.at(restored, place)
    return value is not ABSENT and difference.is_same(value, difference.at(document, place))


def _as_the_toolkit(engine: Engine, intent: Intent, path: str, text: str) -> str | None:
    """Take the runtime out; a file goes that has nothing else, not even a comment."""
    document = engine.format.parse(text, path)
    left = runtimes.without_runtime(document, engine.places_in(document, path), intent.name)
    if difference.is_same(left, document):
        return text
    if path == intent.drop_in and engine.is_left_over(left, intent):
        return None
    new = engine.format.edited(text, engine.completed(left, document, intent), path)
    return None if new.strip() in ("", "{}") else new
