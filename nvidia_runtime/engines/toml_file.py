# SPDX-License-Identifier: Apache-2.0
"""A TOML file that is edited in place: comments, order, indentation and line ends stay.

Only lines that change are written, and the result is read again to prove that it says what it
should.  tomlkit renders values, but does not place them: it puts a table between dotted keys, so
that the keys after it belong to that table, and ends its lines with LF in a file of CRLF.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from nvidia_runtime.engines import difference, toml_inline, toml_scan
from nvidia_runtime.engines.difference import Absent, Document, Edit, Steps
from nvidia_runtime.engines.toml_scan import Statement
from nvidia_runtime.errors import NvidiaRuntimeError

INDENT = "  "  # as containerd prints its own
BLANK_LINE = re.compile(r"^[ \t]*\r?\n", re.MULTILINE)
NEAR = 2000  # how far in front of a header a blank line may be
# A blank line, then nothing but comments.
BLANK_END = re.compile(r"\n[ \t]*\r?\n(?:[ \t]*#[^\n]*\n)*\Z")
TEMPLATE = re.compile(r"\{\{.*\}\}")
FOR_TEMPLATES = (
    "this is a template, such as that of k3s and rke2, which find nvidia-container-runtime"
    " themselves: restart them, and give pods runtimeClassName: nvidia"
)
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(text: str, where: str) -> Document:
    """Read a file; errors have line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(str(error), text, where) from None
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where) from None
    except ValueError as error:  # a date that does not exist, a number of too many digits
        raise NvidiaRuntimeError(f"has a value that cannot be read: {error}", where) from None


def _wrong(message: str, text: str, where: str) -> NvidiaRuntimeError:
    match = PLACE.search(message)
    line, column = (match[1], match[2]) if match else (None, None)
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    what = message[: match.start()] if match else message
    hint = FOR_TEMPLATES if TEMPLATE.search(text) else ""
    return NvidiaRuntimeError(what[:1].lower() + what[1:], f"{where}:{line}:{column}", hint)


def edit(text: str, edits: list[Edit], where: str) -> str:
    """Return a text with its edits; it must be one that `parse` accepts."""
    expected = difference.carried_out(edits, parse(text, where))
    new = text
    try:
        for change in edits:
            is_removal = isinstance(change.value, Absent)
            new = _removed(new, change.path) if is_removal else _set(new, change)
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where) from None
    document = _read(new)
    if document is None or not _is_same(document, expected):
        what = "is written in a way that cannot be edited without rewriting it"
        places = dict.fromkeys(toml_inline.key(change.path) for change in edits)
        raise NvidiaRuntimeError(what, where, f"change it by hand: {', '.join(places)}")
    return new


def without_empty(text: str, paths: set[Steps]) -> str:
    """Remove the headers that are among `paths` and have nothing below them."""
    for item in reversed(toml_scan.statements(text)):
        below = [
            other
            for other in toml_scan.statements(text)
            if other != item and other.path[: len(item.path)] == item.path
        ]
        if item.is_header and item.path in paths and not below and not item.is_listed:
            text = text[: _before(text, item)] + text[item.stop :]
    return text


def headers(text: str) -> set[Steps]:
    """Return the tables for which a file has headers."""
    return {item.path for item in toml_scan.statements(text) if item.is_header}


def _read(text: str) -> Document | None:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_same(one: Document, other: Document) -> bool:
    """Compare without empty tables: a table without a header goes with its contents."""
    return difference.is_same(difference.pruned(one), difference.pruned(other))


def _set(text: str, edit: Edit) -> str:
    """Put a value in the place of the old one, or where its table has others."""
    path, value = edit.path, edit.value
    statements = toml_scan.statements(text)
    for item in statements:
        if item.is_header or item.is_listed or path[: len(item.path)] != item.path:
            continue
        rest = path[len(item.path) :]
        old = text[item.value : item.end]
        if rest and old[0] != "{":
            return _set(_removed(text, item.path), edit)  # a value that is not a table goes
        if not isinstance(value, dict) or rest:
            new = toml_inline.changed(old, rest, value)
            return text[: item.value] + new + text[item.end :]
        return _set(_removed(text, path), edit)
    text = _removed(text, path)
    if isinstance(value, dict):
        return _added_table(text, path, value)
    return _added_pair(text, toml_scan.statements(text), path, value)


def _added_pair(text: str, statements: list[Statement], path: Steps, value: Any) -> str:
    """Put a pair after the last one of its table, with a header if that is missing."""
    table = path[:-1]
    section = [item for item in statements if item.table == table and not item.is_listed]
    pairs = [item for item in section if not item.is_header and item.path[:-1] == table]
    dotted = [
        item
        for item in statements
        if not item.is_header and item.path[: len(table)] == table and item.table != table
        if len(item.table) < len(table) and not item.is_listed
    ]
    line = f"{toml_inline.key(path[-1:])} = {toml_inline.value(value)}"
    if pairs or section:
        last = (pairs or section)[-1]
        step = "" if pairs else _step(text, statements)
        return _with_lines(text, last.stop, [_indent(text, last) + step + line])
    if dotted:
        last = dotted[-1]
        name = toml_inline.key(path[len(last.table) :])
        return _with_lines(
            text, last.stop, [f"{_indent(text, last)}{name} = {toml_inline.value(value)}"]
        )
    if not table:
        return _with_lines(text, _top(text, statements), [line])
    return _added_table(text, table, {path[-1]: value})


def _added_table(text: str, path: Steps, value: Document) -> str:
    """Put a table after its neighbours, written as they are."""
    statements = [item for item in toml_scan.statements(text) if not item.is_listed]
    step = _step(text, statements)
    for length in range(len(path) - 1, 0, -1):
        beside = [item for item in statements if item.path[:length] == path[:length]]
        if not beside:
            continue
        last = beside[-1]
        if not last.is_header and len(last.table) < length:  # dotted keys
            return _added_dotted(text, last, path, value)
        headers = [item for item in beside if item.is_header]
        peers = [item for item in headers if len(item.path) == len(path)] or headers
        indent = _indent(text, peers[-1])
        if len(peers[-1].path) < len(path) and indent:
            indent += (step or INDENT) * (len(path) - len(peers[-1].path))
        return _with_section(text, _section_end(text, last), _sections(path, value, indent, step))
    return _with_section(text, len(text), _sections(path, value, "", step))


def _added_dotted(text: str, last: Statement, path: Steps, value: Document) -> str:
    indent = _indent(text, last)
    lines = [
        f"{indent}{toml_inline.key(leaf[len(last.table) :])} = {toml_inline.value(item)}"
        for leaf, item in _leaves(path, value)
    ]
    return _with_lines(text, last.stop, lines)


def _leaves(path: Steps, value: Any) -> list[tuple[Steps, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [leaf for key, item in value.items() for leaf in _leaves((*path, key), item)]


def _sections(path: Steps, value: Document, indent: str, step: str) -> list[str]:
    """Write a table and those below it as lines; ``step`` is the indentation of pairs."""
    lines = [f"{indent}[{toml_inline.key(path)}]"]
    lines += [
        f"{indent}{step}{toml_inline.key((key,))} = {toml_inline.value(item)}"
        for key, item in value.items()
        if not isinstance(item, dict)
    ]
    # Headers are indented where those of the file are.
    deeper = indent + (step or INDENT) if indent else ""
    for key, item in value.items():
        if isinstance(item, dict):
            lines += ["", *_sections((*path, key), item, deeper, step)]
    is_only_outer = value and all(isinstance(item, dict) for item in value.values())
    return lines[2:] if is_only_outer else lines


def _removed(text: str, path: Steps) -> str:
    """Remove a pair, or a table with all that is below it."""
    for item in reversed(toml_scan.statements(text)):
        if item.is_listed and item.path[: len(path)] != path:
            continue
        if item.path[: len(path)] == path:
            start = _before(text, item) if item.is_header else item.start
            text = text[:start] + text[item.stop :]
        elif not item.is_header and path[: len(item.path)] == item.path:
            old = text[item.value : item.end]
            if old[0] == "{":
                new = toml_inline.changed(old, path[len(item.path) :], difference.ABSENT)
                text = text[: item.value] + new + text[item.end :]
    return text


def _before(text: str, header: Statement) -> int:
    """Return where a section begins: with the one blank line between it and the last one."""
    for blank in ("\r\n", "\n"):
        if text[: header.start].endswith("\n" + blank):
            return header.start - len(blank)
    return header.start


def _section_end(text: str, last: Statement) -> int:
    """Return where new lines may follow a section: before the comments of the next header.

    Comments between blank lines belong to the section; those right above a header belong to that.
    """
    at = end = last.stop
    for line in text[last.stop :].splitlines(keepends=True):
        if line.lstrip().startswith("["):
            return end
        at += len(line)
        if line.strip():
            continue
        if text[last.stop : at].strip():
            end = at - len(line)
    return len(text) if text[end:].strip() else end


def _top(text: str, statements: list[Statement]) -> int:
    """Return where a first pair may stand: after the comments on top, up to a blank line."""
    first = statements[0].start if statements else len(text)
    head = text[:first]
    for match in reversed(list(BLANK_LINE.finditer(head))):
        if head[: match.start()].strip():
            return match.start()
    return len(head) if not statements else 0


def _step(text: str, statements: list[Statement]) -> str:
    """Return by what a pair of this file is indented more than its header."""
    header = None
    for item in statements:
        if item.is_header:
            header = item
        elif header and item.path[:-1] == header.path:
            return _indent(text, item).removeprefix(_indent(text, header))
    return ""


def _indent(text: str, item: Statement) -> str:
    return text[item.start : item.key]


def _with_section(text: str, at: int, lines: list[str]) -> str:
    """Put a section into a file, after a blank line where the sections of the file have one."""
    headers = [item for item in toml_scan.statements(text) if item.is_header and item.start]
    has_blanks = not headers or any(
        BLANK_END.search(text[max(0, item.start - NEAR) : item.start]) for item in headers
    )
    if not has_blanks:
        lines = [line for line in lines if line]
    elif text[:at].strip():
        lines = ["", *lines]
    return _with_lines(text, at, lines)


def _with_lines(text: str, at: int, lines: list[str]) -> str:
    """Insert lines before a line, with the line ends of the file."""
    end = "\r\n" if "\r\n" in text else "\n"
    before = text[:at]
    if before and not before.endswith("\n"):
        before += end
    return before + "".join(line + end for line in lines) + text[at:]
