# SPDX-License-Identifier: Apache-2.0
"""The places of headers, keys, values, elements and inline members in the text of a TOML file.

tomllib has read the text before, so that it has no errors here.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

SPACE = re.compile(r"[ \t]*")
# White space, line ends and comments, as they stand between the elements of a list.
GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
BARE = re.compile(r"[A-Za-z0-9_-]+")
SCALAR = re.compile(r"[^,\]}#\r\n]+")
BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
LITERAL = re.compile(r"'[^']*'")
LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL)
LONG_LITERAL = re.compile(r"'''.*?'{3,5}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A header or a key with its value; a value that is -1 marks a header.

    ``path`` is the whole path, ``table`` that of the header above.  ``start`` is where its line
    starts, ``stop`` where the next one does.  ``is_listed`` is set for what belongs to a list of
    tables, where a path names nothing.
    """

    path: tuple[str, ...]
    table: tuple[str, ...]
    start: int
    key: int
    value: int
    end: int
    stop: int
    is_listed: bool

    @property
    def is_header(self) -> bool:
        """Whether it is the header of a table."""
        return self.value < 0


def statements(text: str) -> list[Statement]:
    """List the headers and pairs of a file, in its order."""
    listing: list[Statement] = []
    table: tuple[str, ...] = ()
    lists: list[tuple[str, ...]] = []
    at = 0
    while at < len(text):
        start, at = at, _space(text, at)
        if text[at : at + 1] in ("", "#", "\r", "\n"):
            at = _next_line(text, at)
            continue
        key, value = at, -1
        if text[at] == "[":
            is_list = text[at : at + 2] == "[["
            table, end = keys(text, _space(text, at + 1 + is_list))
            end = _space(text, end) + 1 + is_list
            path = table
            if is_list:
                lists.append(table)
        else:
            path, end = keys(text, at)
            path = table + path
            value = _space(text, _space(text, end) + 1)
            end = value_end(text, value)
        listed = any(table[: len(outer)] == outer for outer in lists)
        at = _next_line(text, end)
        listing.append(
            Statement(
                path=path,
                table=table,
                start=start,
                key=key,
                value=value,
                end=end,
                stop=at,
                is_listed=listed,
            )
        )
    return listing


def keys(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """Read a key, dotted or not; return its parts and where it ends."""
    parts: list[str] = []
    while True:
        pattern = {'"': BASIC, "'": LITERAL}.get(text[at], BARE)
        match = pattern.match(text, at)
        end = match.end() if match else at + 1
        part = text[at:end]
        parts.append(part if pattern is BARE else str(tomllib.loads(f"x = {part}")["x"]))
        following = _space(text, end)
        if text[following : following + 1] != ".":
            return tuple(parts), end
        at = _space(text, following + 1)


def value_end(text: str, at: int) -> int:
    """Return the end of the value that begins at `at`."""
    if text[at] in "[{":
        items = elements(text, at) if text[at] == "[" else members(text, at)
        end = _gap(text, items[-1][-1] if items else at + 1)
        if text[end] == ",":
            end = _gap(text, end + 1)
        return end + 1
    for opening, pattern in (
        ('"""', LONG_BASIC),
        ("'''", LONG_LITERAL),
        ('"', BASIC),
        ("'", LITERAL),
    ):
        if text.startswith(opening, at):
            match = pattern.match(text, at)
            return match.end() if match else at + 1
    match = SCALAR.match(text, at)
    return at + len(match[0].rstrip()) if match else at + 1


def elements(text: str, at: int) -> list[tuple[int, int]]:
    """List the places of the elements of the list that begins at `at`."""
    places: list[tuple[int, int]] = []
    at = _gap(text, at + 1)
    while text[at] != "]":
        end = value_end(text, at)
        places.append((at, end))
        at = _gap(text, end)
        if text[at] == ",":
            at = _gap(text, at + 1)
    return places


def members(text: str, at: int) -> list[tuple[tuple[str, ...], int, int, int]]:
    """List the keys of an inline table: their parts, and the places of key, value and end."""
    places: list[tuple[tuple[str, ...], int, int, int]] = []
    at = _gap(text, at + 1)
    while text[at] != "}":
        parts, end = keys(text, at)
        value = _space(text, _space(text, end) + 1)
        end = value_end(text, value)
        places.append((parts, at, value, end))
        at = _gap(text, end)
        if text[at] == ",":
            at = _gap(text, at + 1)
    return places


def _space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _gap(text: str, at: int) -> int:
    match = GAP.match(text, at)
    return match.end() if match else at


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1
