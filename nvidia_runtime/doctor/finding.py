# SPDX-License-Identifier: Apache-2.0
"""What checks say: findings by their codes, what is fine, and what could not be looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding, which scripts and people may rely on: an id never changes its meaning.

    ``title`` is one line; ``cause`` and ``remedy`` are paragraphs of the manual.
    """

    id: str
    severity: str
    title: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What ``--fix`` does: a call of nvidia-ctk that loses nothing of the user's.

    ``files`` are the paths that it changes, which are kept to be restored by ``--undo``; where the
    call has an undo of its own, ``undo`` is that call.
    """

    words: tuple[str, ...]
    files: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong.

    ``what`` is a sentence with the facts of this machine, ``where`` a file (and the place in it) or
    another thing that has a name, ``command`` what to run next.  ``engine`` is the engine that
    alone suffers from it, "" for all.  ``severity`` is that of the code unless it is said here.
    """

    code: Code
    what: str
    where: str = ""
    command: str = ""
    engine: str = ""
    severity: str = ""
    fix: Fix | None = None

    @property
    def weight(self) -> str:
        """How much it matters: error, warning or note."""
        return self.severity or self.code.severity


@dataclass(frozen=True, slots=True)
class Fine:
    """Something that is as it should be; ``is_main`` puts it into the line of its area."""

    what: str
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was not looked at, and what that takes."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is about to be looked at: it may take long, or hang."""

    what: str


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine of this machine, for which there is a verdict."""

    name: str


Said = Finding | Fine | Skipped | Step | Engine
KINDS = {kind.__name__: kind for kind in (Finding, Fine, Skipped, Step, Engine)}


def packed(said: Said) -> dict[str, Any]:
    """Return something that was said as a JSON object."""
    values: dict[str, Any] = asdict(said)
    if isinstance(said, Finding):
        values["code"] = said.code.id
    return {"kind": type(said).__name__, **values}


def unpacked(values: dict[str, Any], codes: dict[str, Code]) -> Said:
    """Return what `packed` made an object of."""
    values = dict(values)
    kind = KINDS[values.pop("kind")]
    if kind is Finding:
        values["code"] = codes[values["code"]]
        if fix := values["fix"]:
            values["fix"] = Fix(**{name: tuple(words) for name, words in fix.items()})
    said: Said = kind(**values)
    return said
