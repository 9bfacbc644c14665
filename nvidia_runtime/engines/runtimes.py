# SPDX-License-Identifier: Apache-2.0
"""The runtimes in an engine's document: to find ours, to add one, and to take one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nvidia_runtime.engines import difference
from nvidia_runtime.engines.difference import ABSENT, Absent, Document, Edit, Steps
from nvidia_runtime.engines.engine import Summary
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Intent, Places

PROGRAM = "nvidia-container-runtime"
# Without a type, a table for the default runtime does not count; with one, it gets this name.
TYPE = "runtime_type"
DEFAULT = "default"


def is_ours(program: Any) -> bool:
    """Whether a program, or a list of places to look for one, is a runtime of ours."""
    if isinstance(program, list):
        return any(map(is_ours, program))
    return isinstance(program, str) and program.rpartition("/")[2].startswith(PROGRAM)


def summary(document: Document, places: Places) -> Summary:
    """Return what a document says of our runtimes; what has a wrong type does not count."""
    ours = programs(document, places)
    document = in_force(document, places)
    default = difference.at(document, places.default)
    cdi = difference.at(document, places.cdi) if places.cdi else True
    return Summary(
        runtimes=tuple(ours),
        default=default if isinstance(default, str) else "",
        cdi=cdi if isinstance(cdi, bool) else None,
    )


def programs(document: Document, places: Places) -> dict[str, str]:
    """Return our runtimes in a document, each with its program, or the first of several."""
    entries = difference.at(in_force(document, places), places.runtimes)
    ours = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        program = difference.at(entry, places.program)
        if is_ours(program):
            ours[name] = program if isinstance(program, str) else next(filter(is_ours, program))
    return ours


def in_force(document: Document, places: Places) -> Document:
    """Put a table that is the default runtime among the others, as containerd 1 does."""
    value = difference.at(document, places.default_table) if places.default_table else ABSENT
    if difference.at(value, (TYPE,)) in (ABSENT, ""):
        return document
    edits = [Edit((*places.runtimes, DEFAULT), value), Edit(places.default, DEFAULT)]
    return difference.carried_out(edits, document)


def table(document: Document, path: Steps, where: str) -> Document:
    """Return a table of a document, an empty one where it is missing; a wrong type is an error."""
    value: Any = document
    for length in range(1, len(path) + 1):
        value = difference.at(document, path[:length])
        if isinstance(value, Absent):
            return {}
        if not isinstance(value, dict):
            raise wrong_type(path[:length], "a table", value, where)
    return dict(value)


def text(document: Document, path: Steps, where: str) -> str:
    """Return a string of a document, "" where it is missing; a wrong type is an error."""
    table(document, path[:-1], where)
    value = difference.at(document, path)
    if isinstance(value, Absent):
        return ""
    if type(value) is not str:
        raise wrong_type(path, "a string", value, where)
    return value


def wrong_type(path: Steps, kind: str, value: Any, where: str) -> NvidiaRuntimeError:
    """Make the error for a value of a wrong type."""
    shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
    return NvidiaRuntimeError(
        f"must be {kind}, not {shown}",
        f"{where}: {'.'.join(path)}",
        "mend it by hand; nothing was changed",
    )


def with_runtime(document: Document, places: Places, entry: Document, intent: Intent) -> Document:
    """Add the runtime to a document, or bring it up to date, and set what else is asked for."""
    edits = [Edit((*places.runtimes, intent.name), entry)]
    if intent.is_default:
        edits.append(Edit(places.default, intent.name))
        if in_force(document, places) is not document:
            edits.append(Edit(places.default_table, ABSENT))
    if intent.cdi and places.cdi:
        edits.append(Edit(places.cdi, value=True))
    return difference.carried_out(edits, document)


def without_runtime(document: Document, places: Places, name: str) -> Document:
    """Take a runtime out as the toolkit does, with the tables that it leaves empty."""
    edits = [Edit((*places.runtimes, name), ABSENT)]
    if difference.at(document, places.default) == name:
        edits.append(Edit(places.default, places.fallback))
    if isinstance(difference.at(document, edits[0].path), Absent):
        edits = edits[1:]
    value = difference.at(document, places.default_table) if places.default_table else ABSENT
    if is_ours(difference.at(value, places.program)):
        edits.append(Edit(places.default_table, ABSENT))
    new = difference.carried_out(edits, document)
    for edit in edits:
        for length in range(len(edit.path) - 1, 0, -1):
            if difference.at(new, edit.path[:length]) == {}:
                new = difference.carried_out([Edit(edit.path[:length], ABSENT)], new)
    return new
