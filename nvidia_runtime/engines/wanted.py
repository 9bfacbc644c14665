# SPDX-License-Identifier: Apache-2.0
"""What is asked of an engine's configuration, where that is written, and what was found there.

Ring: elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nvidia_runtime.engines import difference
from nvidia_runtime.engines.difference import ABSENT, Absent, Document, Edit, Steps
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.engines.write import Change

PROGRAM = "nvidia-container-runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The runtime to add: its name, its program, whether it becomes the default, CDI in the engine.

    ``is_merged`` says that the engine merges the drop-in by itself, without an import.
    ``config`` is the engine's own file, ``drop_in`` the one for what we add, "" if there is none.
    ``is_own`` says that the file is the one that the engine here starts with.
    ``by_command`` says that the engine itself is asked what it runs with, ``executable`` which
    program that is, ``version`` the version of the one that runs, () where it is not known.
    """

    name: str
    program: str
    config: str
    drop_in: str = ""
    is_default: bool = False
    cdi: bool = False
    is_merged: bool = False
    is_own: bool = False
    by_command: bool = False
    executable: str = ""
    version: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to write, in this order, and what somebody should know about it."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an engine's files say: our runtimes by name, the default runtime, CDI, the version.

    ``default`` is "" where the engine's own default holds, ``cdi`` None where the files are silent.
    """

    runtimes: tuple[str, ...] = ()
    default: str = ""
    cdi: bool | None = None
    version: int | None = None

    @property
    def is_default(self) -> bool:
        """Whether one of our runtimes is the default."""
        return self.default in self.runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where an engine's document has its runtimes, its default runtime and its switch for CDI.

    ``program`` is where the program stands in the table of a runtime; ``fallback`` becomes the
    default when nobody knows what it was before.
    """

    runtimes: Steps
    default: Steps
    cdi: Steps = ()
    program: Steps = ()
    fallback: Any = ABSENT


def is_ours(program: Any) -> bool:
    """Whether a program, or a list of places to look for one, is a runtime of ours."""
    if isinstance(program, list):
        return any(map(is_ours, program))
    return isinstance(program, str) and program.rpartition("/")[2].startswith(PROGRAM)


def found(document: Document, places: Places, version: int | None = None) -> Found:
    """Say what a document has of us; what has a wrong type does not count."""
    runtimes = difference.at(document, places.runtimes)
    default = difference.at(document, places.default)
    cdi = difference.at(document, places.cdi) if places.cdi else True
    names = runtimes if isinstance(runtimes, dict) else {}
    return Found(
        runtimes=tuple(
            name for name, each in names.items() if is_ours(difference.at(each, places.program))
        ),
        default=default if isinstance(default, str) else "",
        cdi=cdi if isinstance(cdi, bool) else None,
        version=version,
    )


def table(document: Document, path: Steps, where: str) -> Document:
    """Return a table of a document, empty where there is none; a wrong type is an error."""
    for length in range(1, len(path) + 1):
        value = difference.at(document, path[:length])
        if isinstance(value, Absent):
            return {}
        if not isinstance(value, dict):
            raise wrong(path[:length], "a table", value, where)
    value = difference.at(document, path)
    return value if isinstance(value, dict) else {}


def text(document: Document, path: Steps, where: str) -> str:
    """Return a string of a document, "" where there is none; a wrong type is an error."""
    table(document, path[:-1], where)
    value = difference.at(document, path)
    if isinstance(value, Absent):
        return ""
    if not isinstance(value, str) or type(value) is not str:
        raise wrong(path, "a string", value, where)
    return value


def wrong(path: Iterable[str], kind: str, value: Any, where: str) -> NvidiaRuntimeError:
    """Say that a value has a wrong type."""
    place = ".".join(path)
    shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
    return NvidiaRuntimeError(
        f"must be {kind}, not {shown}", f"{where}: {place}", "mend it by hand; nothing was changed"
    )


def with_runtime(document: Document, places: Places, entry: Document, wanted: Wanted) -> Document:
    """Add the runtime to a document, or bring it up to date, and set what else is asked for."""
    edits = [Edit((*places.runtimes, wanted.name), entry)]
    if wanted.is_default:
        edits.append(Edit(places.default, wanted.name))
    if wanted.cdi and places.cdi:
        edits.append(Edit(places.cdi, value=True))
    return difference.carried_out(edits, document)


def without_runtime(document: Document, places: Places, name: str) -> Document:
    """Take a runtime out as the toolkit does, with the tables that it leaves empty."""
    edits = [Edit((*places.runtimes, name), ABSENT)]
    if difference.at(document, places.default) == name:
        edits.append(Edit(places.default, places.fallback))
    if isinstance(difference.at(document, edits[0].path), Absent):
        edits = edits[1:]
    new = difference.carried_out(edits, document)
    for edit in edits:
        for length in range(len(edit.path) - 1, 0, -1):
            if difference.at(new, edit.path[:length]) == {}:
                new = difference.carried_out([Edit(edit.path[:length], ABSENT)], new)
    return new
