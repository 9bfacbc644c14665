# SPDX-License-Identifier: Apache-2.0
"""What changes from one document to another, as edits; and how to take edits back later.

A document is what JSON and TOML have in common: nested dicts, lists and scalars.  Ring: elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Steps = tuple[str, ...]


class Absent:
    """Stands for a value that is not there."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Edit:
    """A value at a place; ABSENT takes away what is there."""

    path: Steps
    value: Any


def at(document: Any, path: Steps) -> Any:
    """Return the value at a place, ABSENT where there is none."""
    for step in path:
        if not isinstance(document, dict) or step not in document:
            return ABSENT
        document = document[step]
    return document


def is_same(one: Any, other: Any) -> bool:
    """Compare as documents do: true is not 1, nor is 1.0; the order of keys does not count."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    # repr: NaN equals itself, and -0.0 is not 0.0.
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


def between(before: Document, after: Document, path: Steps = ()) -> list[Edit]:
    """List the edits that make one document the other: what is new as a whole, the rest by leaf."""
    gone = [Edit((*path, key), ABSENT) for key in before if key not in after]
    edits = []
    for key, value in after.items():
        old = before.get(key, ABSENT)
        if isinstance(old, dict) and isinstance(value, dict):
            edits += between(old, value, (*path, key))
        elif not is_same(old, value):
            edits.append(Edit((*path, key), value))
    return edits + gone


def carried_out(edits: list[Edit], document: Document) -> Document:
    """Return a document with its edits; the one that is given stays as it is."""
    for edit in edits:
        document = _with(document, edit.path, edit.value)
    return document


def pruned(document: Document) -> Document:
    """Leave out empty tables."""
    new = {key: pruned(each) if isinstance(each, dict) else each for key, each in document.items()}
    return {key: each for key, each in new.items() if each != {}}


def _with(document: Any, path: Steps, value: Any) -> Document:
    copy = dict(document) if isinstance(document, dict) else {}
    if len(path) > 1:
        if path[0] in copy or not isinstance(value, Absent):
            copy[path[0]] = _with(copy.get(path[0]), path[1:], value)
    elif isinstance(value, Absent):
        copy.pop(path[0], None)
    else:
        copy[path[0]] = value
    return copy


def undone(
    before: Document, after: Document, now: Document, runtimes: Steps
) -> tuple[Document, list[Steps]]:
    """Take what was changed from `before` to `after` back from a document that was edited since.

    What somebody else has changed since stays; those places come second.  ``runtimes`` is where
    runtimes are: one that was added goes as a whole, whatever was put into it since.
    """
    edits: list[Edit] = []
    kept: list[Steps] = []
    for edit in between(after, before):
        path, then, found = edit.path, at(after, edit.path), at(now, edit.path)
        if isinstance(found, Absent) or is_same(found, edit.value):
            if isinstance(then, Absent) and isinstance(at(now, path[:-1]), dict):
                edits.append(edit)  # what we took away comes back where its table still is
        elif isinstance(then, list) and isinstance(found, list):
            edits.append(Edit(path, _without(then, edit.value, found)))
        elif isinstance(then, dict) and isinstance(found, dict) and isinstance(edit.value, Absent):
            edits.append(Edit(path, _rest(then, found, path, runtimes)))
        elif is_same(found, then):
            edits.append(edit)
        else:
            kept.append(path)
    return carried_out(edits, now), kept


def _without(then: list[Any], before: Any, found: list[Any]) -> Any:
    """Return a list without the elements that we had added to it."""
    old = before if isinstance(before, list) else [] if isinstance(before, Absent) else [before]
    ours = [each for each in then if not any(is_same(each, other) for other in old)]
    left = [each for each in found if not any(is_same(each, other) for other in ours)]
    if isinstance(before, Absent) and not left:
        return ABSENT
    return before if is_same(left, old) else left


def _rest(then: Document, found: Document, path: Steps, runtimes: Steps) -> Any:
    """Return what of a table was not written by us, ABSENT if that is nothing."""
    left: Document = {}
    if path[:-1] == runtimes:
        return ABSENT
    for key, value in found.items():
        if key not in then:
            left[key] = value
        elif isinstance(value, dict) and isinstance(then[key], dict):
            rest = _rest(then[key], value, (*path, key), runtimes)
            if not isinstance(rest, Absent):
                left[key] = rest
    return left or ABSENT
