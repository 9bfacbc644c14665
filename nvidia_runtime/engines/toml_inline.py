# SPDX-License-Identifier: Apache-2.0
"""Keys and values of TOML as text: written anew, or changed inside a list or inline table."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import tomlkit

from nvidia_runtime.engines import difference, toml_scan
from nvidia_runtime.engines.difference import Absent, Steps
from nvidia_runtime.errors import NvidiaRuntimeError


def key(path: Steps) -> str:
    """Write a key, with quotes where they are needed."""
    return ".".join(part if toml_scan.BARE.fullmatch(part) else _quoted(part) for part in path)


def value(document: Any) -> str:
    """Write a value in one line."""
    if isinstance(document, dict):
        pairs = (f"{key((name,))} = {value(item)}" for name, item in document.items())
        text = ", ".join(pairs)
        return f"{{ {text} }}" if text else "{}"
    if isinstance(document, list):
        return "[" + ", ".join(map(value, document)) + "]"
    if isinstance(document, str):
        return _quoted(document)
    return str(tomlkit.item(document).as_string())


def _quoted(text: str) -> str:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        # A byte of the command line that is not UTF-8; TOML has no escape for it.
        raise NvidiaRuntimeError(f"{text!r} is not UTF-8")
    return str(tomlkit.string(text).as_string())


def changed(old: str, path: Steps, new: Any) -> str:
    """Change the text of a value: as a whole, or at a place inside an inline table."""
    if path:
        return _with_member(old, path, new)
    if isinstance(new, list) and old[0] == "[":
        return _list(old, new)
    return value(new)


def _with_member(old: str, path: Steps, new: Any) -> str:
    members = toml_scan.members(old, 0)
    places = [(start, end) for _parts, start, _begin, end in members]
    for parts, start, begin, end in members:
        if path[: len(parts)] == parts:
            if isinstance(new, Absent) and path == parts:
                return _without(old, places, (start, end))
            rest = path[len(parts) :]
            if not rest or old[begin] == "{":
                return old[:begin] + changed(old[begin:end], rest, new) + old[end:]
            for outer in reversed(rest):
                new = {outer: new}
            return old[:begin] + value(new) + old[end:]
        if parts[: len(path)] == path:  # a.b = 1 is a member of a
            return _with_member(_without(old, places, (start, end)), path, new)
    if isinstance(new, Absent):
        return old
    pair = f"{key(path)} = {value(new)}"
    if not places:
        return f"{{ {pair} }}"
    end = places[-1][1]
    return f"{old[:end]}, {pair}{old[end:]}"


def _list(old: str, new: list[Any]) -> str:
    """Add to the end of a list, or remove elements of it; else write it anew."""
    places = toml_scan.elements(old, 0)
    before = list(tomllib.loads(f"x = {old}")["x"])
    if not before:
        return value(new)
    if len(new) > len(before) and difference.is_same(new[: len(before)], before):
        return _longer(old, places[-1], [value(item) for item in new[len(before) :]])
    for at in range(len(before) - 1, -1, -1):
        if not any(difference.is_same(before[at], item) for item in new):
            places = toml_scan.elements(old, 0)
            old = _without(old, places, places[at])
    return old if difference.is_same(tomllib.loads(f"x = {old}")["x"], new) else value(new)


def _longer(old: str, last: tuple[int, int], new: list[str]) -> str:
    """Put elements after the last one, each in a line of its own if that one is."""
    start, end = last
    line = old.rfind("\n", 0, start) + 1
    rest = old.find("\n", end)
    if not line or old[line:start].strip() or rest < 0:
        return old[:end] + "".join(f", {item}" for item in new) + old[end:]
    has_comma = re.match(r"\s*,", old[end:]) is not None
    after = "\r\n" if old[:line].endswith("\r\n") else "\n"
    lines = f",{after}".join(old[line:start] + item for item in new)
    comma = "," if has_comma else ""
    return (
        old[:end] + ("" if has_comma else ",") + old[end : rest + 1] + lines + comma + after
    ) + old[rest + 1 :]


def _without(text: str, places: list[tuple[int, int]], element: tuple[int, int]) -> str:
    """Remove an element or a member, with its line or with the comma before it."""
    at = places.index(element)
    line = text.rfind("\n", 0, element[0]) + 1
    rest = text.find("\n", element[1])
    if (
        line
        and rest >= 0
        and re.fullmatch(r"\s*" + re.escape(text[slice(*element)]) + r"\s*,?\s*", text[line:rest])
    ):
        return text[:line] + text[rest + 1 :]
    if at:
        return text[: places[at - 1][1]] + text[element[1] :]
    if len(places) > 1:
        return text[: element[0]] + text[places[1][0] :]
    return text[0] + text[-1]
