# SPDX-License-Identifier: Apache-2.0
"""Text as mdoc(7), in the form that ``mandoc -T lint`` likes: a line for each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nvidia_runtime.cli.help import wrapped

DATE = "November 30, 2026"
WIDTH = 78
SENTENCE = re.compile(r"(?<=[.:])\s+(?=[A-Z'/-])")
# A page of the manual: nvidia-cdi-hook(8).
REFERENCE = re.compile(r"(?P<name>[\w.-]+)\((?P<section>\d)\)(?P<end>[.,;:]?)")
SPECIAL = {"\\": "\\e", "…": "...", "\u2019": "'"}


def head(name: str, section: int, what: str) -> list[str]:
    """Return the beginning of a page."""
    return [
        '.\\" SPDX-License-Identifier: Apache-2.0',
        f".Dd {DATE}",
        f".Dt {name.upper()} {section}",
        ".Os",
        ".Sh NAME",
        f".Nm {name}",
        f".Nd {what}",
    ]


def text(paragraph: str) -> list[str]:
    """Return a paragraph's lines."""
    lines: list[str] = []
    for sentence in SENTENCE.split(paragraph):
        line: list[str] = []
        for word in sentence.split():
            if match := REFERENCE.fullmatch(word):
                lines += _plain(line)
                lines.append(f".Xr {match['name']} {match['section']} {match['end']}".rstrip())
                line = []
            else:
                line.append(word)
        lines += _plain(line)
    return lines


def paragraphs(texts: Iterable[str]) -> list[str]:
    """Return paragraphs, each after the first with its mark."""
    lines: list[str] = []
    for one in texts:
        lines += [*([".Pp"] if lines else []), *text(one)]
    return lines


def tagged(entries: Sequence[tuple[str, list[str]]]) -> list[str]:
    """Return a list of heads, each with its lines; none is no list."""
    if not entries:
        return []
    lines = [".Bl -tag -width Ds"]
    for tag, below in entries:
        lines += [f".It {tag}", *below]
    return [*lines, ".El"]


def escaped(word: str) -> str:
    """Return a word with what mdoc would obey, and dashes as they are typed, at no line's end."""
    for letter, form in SPECIAL.items():
        word = word.replace(letter, form)
    return word.replace("-", "\\-") if word[:1] == "-" or word.count("-") > 1 else word


def words(line: str) -> str:
    """Return words behind a macro, none of which is a delimiter."""
    said = " ".join(map(escaped, line.split())).replace('"', "\\(dq")
    return f"{said}\\&" if said[-1:] in ".]" else said


def _plain(said: list[str]) -> list[str]:
    lines = wrapped(" ".join(map(escaped, said)), 0, WIDTH) if said else []
    return [f"\\&{line}" if line[:1] in ".'" else line for line in lines]
