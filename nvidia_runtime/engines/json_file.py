# SPDX-License-Identifier: Apache-2.0
"""A JSON file that is edited in place: order, indentation, numbers and line ends stay as they are.

Only the members that change are written anew, in the style of their neighbours.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json import decoder
from typing import TYPE_CHECKING, Any, NoReturn

from nvidia_runtime.engines.difference import Absent, Document, Edit
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable

SPACE = re.compile(r"[ \t\r\n]*")
SCALAR = re.compile(r"[^,\]}\s]+")
SURROGATE = re.compile("[\ud800-\udfff]")
INDENT = "    "  # dockerd's own documentation, and the toolkit


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"\s*(:?)|[{}]|NaN|-?Infinity')


class _OddError(Exception):
    """A document has what Python's reader accepts, and engines do not."""


class Number(str):
    """A number as it is written, of any size and precision."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object, by the places of its key and its value in the text."""

    key: str
    start: int
    value: int
    end: int


def parse(text: str, where: str) -> Document:
    """Read an object; errors have line and column.  An empty text is an empty object."""
    if not text.strip():
        return {}
    try:
        document = json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        raise _wrong(error.msg, text, error.pos, where) from None
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where) from None
    except _OddError as error:
        raise _wrong(str(error), text, _oddity(text), where) from None
    if not isinstance(document, dict):
        raise _wrong("must be an object", text, SPACE.match(text).end(), where)  # type: ignore[union-attr]
    return document


def _refuse(name: str) -> NoReturn:
    raise _OddError(f"has {name}, which is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise _OddError("an object has the same key twice")
    return document


def _oddity(text: str) -> int:
    """Find what Python's reader accepts and we do not: a repeated key, NaN or Infinity."""
    seen: list[set[str]] = []
    for match in TOKEN.finditer(text):
        piece = match[0]
        if piece == "{":
            seen.append(set())
        elif piece == "}":
            seen.pop()
        elif piece[0] != '"' or (match[1] and _key(piece) in seen[-1]):
            return match.start()
        elif match[1]:
            seen[-1].add(_key(piece))
    return 0


def _key(token: str) -> str:
    return str(json.loads(token.rstrip(": \t\r\n")))


def _wrong(what: str, text: str, position: int, where: str) -> NvidiaRuntimeError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    comment = text[position : position + 1] in ("#", "/")
    hint = "JSON has no comments" if comment else ""
    what = what.removesuffix(" at")  # there the message of json goes on with the place
    return NvidiaRuntimeError(what[:1].lower() + what[1:], f"{where}:{line}:{column}", hint)


def edit(text: str, edits: list[Edit]) -> str:
    """Return a text with its edits; it must be one that `parse` accepts."""
    if edits and not text.strip():
        text = "{}\n"
    for change in edits:
        text = _edited(text, change)
    return text


def _edited(text: str, edit: Edit) -> str:
    start = _space(text, 0)
    value, path = edit.value, edit.path
    for depth, step in enumerate(path):
        members = _members(text, start)
        member = next((member for member in members if member.key == step), None)
        if member is None:
            if isinstance(value, Absent):
                return text
            for outer in reversed(path[depth + 1 :]):
                value = {outer: value}
            return _inserted(text, start, members, step, value)
        if depth == len(path) - 1:
            if isinstance(value, Absent):
                return _removed(text, start, members, member)
            return _replaced(text, member, value)
        if text[member.value] != "{":  # a value that is not an object is replaced
            for outer in reversed(path[depth + 1 :]):
                value = {outer: value}
            return _replaced(text, member, value)
        start = member.value
    return text


def _space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _members(text: str, start: int) -> list[Member]:
    """List the members of the object that begins at `start`."""
    members: list[Member] = []
    at = _space(text, start + 1)
    while text[at] != "}":
        key, after = decoder.scanstring(text, at + 1)  # type: ignore[attr-defined]
        value = _space(text, _space(text, after) + 1)  # past the colon
        end = _end(text, value)
        members.append(Member(key, at, value, end))
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
    return members


def _end(text: str, at: int) -> int:
    """Return the end of the value that begins at `at`."""
    depth = 0
    while True:
        char = text[at]
        if char == '"':
            at = decoder.scanstring(text, at + 1)[1]  # type: ignore[attr-defined]
        elif char in "{[":
            depth, at = depth + 1, at + 1
        elif char in "]}":
            depth, at = depth - 1, at + 1
        elif char in ",: \t\r\n":
            at += 1
            continue
        else:
            match = SCALAR.match(text, at)
            at = match.end() if match else at + 1
        if depth == 0:
            return at


def _closing(text: str, start: int) -> int:
    return _end(text, start) - 1


def _indent(text: str, at: int) -> str:
    """Return the white space in front of the line in which `at` is."""
    line = text.rfind("\n", 0, at) + 1
    return text[line : _blank(text, line)]


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _unit(text: str) -> str:
    """Return the white space by which one level of the file is indented."""
    start = _space(text, 0)
    members = _members(text, start)
    if members and "\n" in text[start : members[0].start]:
        return _indent(text, members[0].start)[len(_indent(text, start)) :]
    return INDENT


def _break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _is_line(text: str, start: int, members: list[Member]) -> bool:
    """Whether an object is written in one line, so that new members belong there, too."""
    return bool(members) and "\n" not in text[start : _closing(text, start)]


def _inserted(text: str, start: int, members: list[Member], key: str, value: Any) -> str:
    """Put a member after the last one of the object that begins at `start`."""
    name = _text(key)
    if _is_line(text, start, members):
        last = members[-1]
        comma, colon = _separators(text, members)
        return (
            text[: last.end] + comma + name + colon + _line(value, comma, colon) + text[last.end :]
        )
    unit, end = _unit(text), _break(text)
    outer = _indent(text, start)
    indent = _indent(text, members[-1].start) if members else outer + unit
    member = f"{name}: {_rendered(value, indent, unit, end)}"
    if members:
        at = members[-1].end
        return f"{text[:at]},{end}{indent}{member}{text[at:]}"
    return f"{text[: start + 1]}{end}{indent}{member}{end}{outer}{text[_closing(text, start) :]}"


def _separators(text: str, members: list[Member]) -> tuple[str, str]:
    """Return the comma and the colon of an object in one line, with the space that it has there."""
    first = members[0]
    colon = ": " if text[first.value - 1] == " " else ":"
    if len(members) == 1:
        return (", " if colon == ": " else ","), colon
    return (", " if text[members[1].start - 1] == " " else ","), colon


def _line(value: Any, comma: str, colon: str) -> str:
    return _dumped(value, lambda item: _line(item, comma, colon), comma, colon)


def _dumped(value: Any, inner: Callable[[Any], str], comma: str, colon: str) -> str:
    if isinstance(value, Number):
        return value
    if isinstance(value, list):
        return "[" + comma.join(map(inner, value)) + "]"
    if isinstance(value, dict):
        names = (_text(key) for key in value)
        pairs = zip(names, map(inner, value.values()), strict=True)
        return "{" + comma.join(name + colon + item for name, item in pairs) + "}"
    return _text(value)


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Half of a surrogate pair can be written as an escape only.
    return text if text.isascii() or not SURROGATE.search(text) else json.dumps(value)


def _rendered(value: Any, indent: str, unit: str, end: str) -> str:
    """Write a value in lines; a scalar, or an empty object or list, in one line."""
    if not value or not isinstance(value, (dict, list)):
        return _line(value, ", ", ": ")
    deeper = indent + unit
    comma = f",{end}{deeper}"
    text = _dumped(value, lambda item: _rendered(item, deeper, unit, end), comma, ": ")
    return f"{text[0]}{end}{deeper}{text[1:-1]}{end}{indent}{text[-1]}"


def _replaced(text: str, member: Member, value: Any) -> str:
    indent = _indent(text, member.start)
    new = _rendered(value, indent, _unit(text), _break(text))
    return text[: member.value] + new + text[member.end :]


def _removed(text: str, start: int, members: list[Member], member: Member) -> str:
    """Remove a member with the comma and the white space before it."""
    at = members.index(member)
    if len(members) == 1:
        return text[: start + 1] + text[_closing(text, start) :]
    if at == 0:
        return text[: member.start] + text[members[1].start :]
    return text[: members[at - 1].end] + text[member.end :]
