# SPDX-License-Identifier: Apache-2.0
"""Take back what configuring an engine did: exactly by the journal, else as the toolkit removes.

Ring: elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from nvidia_runtime.engines import (
    containerd,
    crio,
    difference,
    docker,
    journal,
    podman,
    toml_file,
    wanted,
    write,
)
from nvidia_runtime.engines.difference import ABSENT, Edit
from nvidia_runtime.engines.wanted import Plan
from nvidia_runtime.engines.write import Change

if TYPE_CHECKING:
    from nvidia_runtime.engines.difference import Document
    from nvidia_runtime.engines.journal import Entry
    from nvidia_runtime.engines.wanted import Found, Places, Wanted


class Engine(Protocol):
    """What each engine's module knows of its files."""

    def parse(self, text: str, path: str) -> Document:
        """Read a file."""
        ...

    def edited(self, text: str, document: Document, path: str) -> str:
        """Return a text that says what another document does."""
        ...

    def places_in(self, document: Document, path: str) -> Places:
        """Say where a document has what we change."""
        ...

    def configure(self, ask: Wanted) -> Plan:
        """Say what adding our runtime changes."""
        ...

    def describe(self, path: str) -> Found:
        """Say what the files have of us."""
        ...


ENGINES: dict[str, Engine] = {
    "containerd": containerd,
    "crio": crio,
    "docker": docker,
    "podman": podman,
}


def plan(engine: str, ask: Wanted, name: str = "") -> Plan:
    """Say what taking our runtime out of an engine's files changes.

    Without a name everything that the journal knows is taken back.
    """
    paths = [path for path in (ask.config, ask.drop_in) if path]
    known = journal.entries()
    entries = {path: known.get(os.path.realpath(path)) for path in paths}
    texts = {path: write.read(path) for path in paths}
    active = {
        path: entry
        for path, entry in entries.items()
        if entry and not entry.is_undone and entry.engine == engine
    }
    others = {each for entry in active.values() for each in entry.runtimes if each != name}
    if active and not (name and others):
        made = {path for path, entry in active.items() if entry.before is None}
        return _with_what_it_imports(engine, ask, _by_journal(active, texts), made)
    changes = []
    for path in reversed(paths):  # the drop-in first: what is left of the file depends on it
        before, entry = texts[path], entries[path]
        after = before
        if before is not None and not _was_restored(engine, entry, before, path, ask.name):
            after = _as_the_toolkit(engine, ask, path, before)
        changes.append(Change(path, before, after))
    return Plan(changes=tuple(reversed(_with_import(engine, ask, changes))))


def _by_journal(entries: dict[str, Entry], texts: dict[str, str | None]) -> Plan:
    changes: list[Change] = []
    warnings: list[str] = []
    for path, before in texts.items():
        entry, after = entries.get(path), before
        kept: list[str] = []
        if entry and before is not None:
            after, kept = text_without_us(entry, before, path)
        changes.append(Change(path, before, after))
        warnings += [f"{path}: {place} was changed since and stays" for place in kept]
    return Plan(changes=tuple(changes), warnings=tuple(warnings))


def _with_what_it_imports(engine: str, ask: Wanted, plan: Plan, made: set[str]) -> Plan:
    """Keep the import of a drop-in of ours that stays, since others put something there."""
    left = {change.path for change in plan.changes if change.after is not None}
    if engine != "containerd" or ask.drop_in not in left & made:
        return plan
    changes = tuple(
        replace(change, after=change.before)
        if change.path == ask.config and _rest(change.before) == _rest(change.after)
        else change
        for change in plan.changes
    )
    if changes == plan.changes:
        return plan
    said = f"{ask.drop_in} has other settings, too, and stays, as does its import"
    return Plan(changes=changes, warnings=(*plan.warnings, said))


def _rest(text: str | None) -> Document:
    """Return what a file of containerd's says beside its imports."""
    document = toml_file.parse(text or "", "")
    return {key: value for key, value in document.items() if key not in ("version", "imports")}


def text_without_us(entry: Entry, now: str, path: str) -> tuple[str | None, list[str]]:
    """Return a file's text without what we did to it, and the places that others changed since."""
    if now == entry.after:
        return entry.before, []
    engine = ENGINES[entry.engine]
    document = engine.parse(now, path)
    before = engine.parse(entry.before or "", path)
    after = engine.parse(entry.after or "", path)
    places = engine.places_in(after, path)
    left, kept = difference.undone(before, after, document, places.runtimes)
    if entry.before is None and difference.at(left, places.runtimes[:2]) not in (ABSENT, {}):
        # A drop-in has the whole table of containerd's CRI plugin: a part of it would be the whole.
        left = document
        for name in entry.runtimes:
            left = wanted.without_runtime(left, places, name)
    text = engine.edited(now, left, path)
    if entry.engine != "docker":
        ours = toml_file.headers(entry.after or "") - toml_file.headers(entry.before or "")
        text = toml_file.without_empty(text, ours)
    is_empty = not {key for key in left if key != "version"}
    return (
        None if entry.before is None and is_empty else text,
        [".".join(place) for place in kept],
    )


def _was_restored(engine: str, entry: Entry | None, now: str, path: str, name: str) -> bool:
    """Whether what is there of a name is what we put back, and thus not ours to remove."""
    if entry is None or not entry.is_undone or entry.engine != engine:
        return False
    if now == entry.after:
        return True
    module = ENGINES[engine]
    document, restored = (module.parse(text, path) for text in (now, entry.after or ""))
    place = (*module.places_in(document, path).runtimes, name)
    found = difference.at(restored, place)
    return found is not ABSENT and difference.is_same(found, difference.at(document, place))


def _as_the_toolkit(engine: str, ask: Wanted, path: str, text: str) -> str | None:
    """Take the runtime out; a file goes that has nothing else, no comment either."""
    module = ENGINES[engine]
    document = module.parse(text, path)
    left = wanted.without_runtime(document, module.places_in(document, path), ask.name)
    if difference.is_same(left, document):
        return text
    if engine == "containerd" and path == ask.drop_in and _is_copy(left, ask):
        return None
    if path == ask.drop_in and not left:
        return None
    new = module.edited(text, left, path)
    return None if new.strip() in ("", "{}") else new


def _is_copy(left: Document, ask: Wanted) -> bool:
    """Whether a drop-in of containerd only repeats what the file says that imports it."""
    version = containerd.version_of(left, ask.drop_in)
    places = containerd.places(version)
    cri = places.runtimes[:2]
    top = toml_file.parse(write.read(ask.config) or "", ask.config)
    source = difference.at(top, cri)
    expected: Document = {"version": version} if "version" in left else {}
    if source is not ABSENT and source != {}:
        expected = difference.carried_out([Edit(cri, source)], expected)
    silent = [Edit(places.default, ABSENT), Edit(places.cdi, ABSENT)]
    stock = (*places.runtimes, containerd.STOCK)
    if difference.is_same(difference.at(left, stock), containerd.RUNTIME):
        silent.append(Edit(stock, ABSENT))  # what we put beside ours
    one, other = (difference.carried_out(silent, each) for each in (left, expected))
    return difference.is_same(difference.pruned(one), difference.pruned(other))


def _with_import(engine: str, ask: Wanted, changes: list[Change]) -> list[Change]:
    """Remove a file of containerd that only imported the drop-in that goes."""
    gone = {change.path for change in changes if change.is_one and change.after is None}
    if engine != "containerd" or not ask.drop_in or ask.drop_in not in gone:
        return changes
    pattern = os.path.join(os.path.dirname(ask.drop_in), "*.toml")
    return [
        Change(change.path, change.before, None)
        if change.path == ask.config and _only_imports(change, pattern)
        else change
        for change in changes
    ]


def _only_imports(change: Change, pattern: str) -> bool:
    if change.after is None or "#" in change.after:
        return False
    document = toml_file.parse(change.after, change.path)
    rest = {key: value for key, value in document.items() if key != "version"}
    return rest == {"imports": [pattern]}
