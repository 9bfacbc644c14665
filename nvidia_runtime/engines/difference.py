# SPDX-License-Identifier: Apache-2.0
"""What changes from one document to another, as edits; and how to take edits back later.

A document is what JSON and TOML have in common: nested dicts, lists and scalars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Steps = tuple[str, ...]


class Absent:
    """Stands for a value that is missing."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Edit:
    """A value for a place; ABSENT removes what is there."""

    path: Steps
    value: Any


def at(document: Any, path: Steps) -> Any:
    """Return the value at a place, ABSENT where it is missing."""
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
    """List the edits that turn one document into another: a new table as a whole, else by leaf."""
    removals = [Edit((*path, key), ABSENT) for key in before if key not in after]
    edits = []
    for key, value in after.items():
        old = before.get(key, ABSENT)
        if isinstance(old, dict) and isinstance(value, dict):
            edits += between(old, value, (*path, key))
        elif not is_same(old, value):
            edits.append(Edit((*path, key), value))
    return edits + removals


def carried_out(edits: list[Edit], document: Document) -> Document:
    """Return a document with its edits; the given one is not changed."""
    for edit in edits:
        document = _with(document, edit.path, edit.value)
    return document


def pruned(document: Document) -> Document:
    """Return a document without its empty tables."""
    new = {
        key: pruned(value) if isinstance(value, dict) else value for key, value in document.items()
    }
    return {key: value for key, value in new.items() if value != {}}


def merged(under: Document, over: Document) -> Document:
    """Put one document over another, table by table."""
    new = dict(under)
    for key, value in over.items():
        old = new.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        new[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return new


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
    """Take the change from `before` to `after` back from a document that was edited since.

    What others have changed since stays; these places are returned, too.  ``runtimes`` is the
    place of the runtimes: one that was added goes as a whole, with all that was put into it since.
    """
    edits: list[Edit] = []
    kept: list[Steps] = []
    for edit in between(after, before):
        path, then, value = edit.path, at(after, edit.path), at(now, edit.path)
        if isinstance(value, Absent) or is_same(value, edit.value):
            if isinstance(then, Absent) and isinstance(at(now, path[:-1]), dict):
                edits.append(edit)  # what we removed comes back where its table still is
        elif isinstance(then, list) and isinstance(value, list):
            edits.append(Edit(path, _without(then, edit.value, value)))
        elif isinstance(then, dict) and isinstance(value, dict) and isinstance(edit.value, Absent):
            edits.append(Edit(path, _rest(then, value, path, runtimes)))
        elif is_same(value, then):
            edits.append(edit)
        else:
            kept.append(path)
    return carried_out(edits, now), kept


def _without(then: list[Any], before: Any, now: list[Any]) -> Any:
    """Return a list without the elements that we had added to it."""
    old = before if isinstance(before, list) else [] if isinstance(before, Absent) else [before]
    ours = [item for item in then if not any(is_same(item, other) for other in old)]
    left = [item for item in now if not any(is_same(item, other) for other in ours)]
    if isinstance(before, Absent) and not left:
        return ABSENT
    return before if is_same(left, old) else left


def _rest(then: Document, now: Document, path: Steps, runtimes: Steps) -> Any:
    """Return the part of a table that we did not write, ABSENT if that is nothing."""
    left: Document = {}
    if path[:-1] == runtimes:
        return ABSENT
    for key, value in now.items():
        if key not in then:
            left[key] = value
        elif isinstance(value, dict) and isinstance(then[key], dict):
            rest = _rest(then[key], value, (*path, key), runtimes)
            if not isinstance(rest, Absent):
                left[key] = rest
    return left or ABSENT
