# SPDX-License-Identifier: Apache-2.0
"""A TOML file that is edited in place: comments, order, indentation and line ends stay.

Only lines that change are written; whether the result says what it should is proven by reading it.
tomlkit renders values, but does not place them: it puts a table between dotted keys, which gives
those behind it to that table, and ends its lines with LF in a file of CRLF.  Ring: elsewhere.
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
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(text: str, where: str) -> Document:
    """Read a file; what is wrong is said with line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(str(error), text, where) from None
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where) from None
    except ValueError as error:  # a date that no calendar has, a number of too many digits
        raise NvidiaRuntimeError(f"has a value that cannot be read: {error}", where) from None


def _wrong(said: str, text: str, where: str) -> NvidiaRuntimeError:
    match = PLACE.search(said)
    line, column = (match[1], match[2]) if match else (None, None)
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    what = said[: match.start()] if match else said
    if text.startswith("\ufeff"):
        what = "begins with a byte order mark; save it without one"
    return NvidiaRuntimeError(what[:1].lower() + what[1:], f"{where}:{line}:{column}")


def edit(text: str, edits: list[Edit], where: str) -> str:
    """Return a text with its edits; it must be one that `parse` accepts."""
    expected = difference.carried_out(edits, parse(text, where))
    new = text
    try:
        for each in edits:
            new = _removed(new, each.path) if isinstance(each.value, Absent) else _set(new, each)
    except RecursionError:
        raise NvidiaRuntimeError("is nested too deeply", where) from None
    found = _read(new)
    if found is None or not _is_same(found, expected):
        what = "is written in a way that cannot be edited without rewriting it"
        raise NvidiaRuntimeError(
            what, where, "give it the change by hand; --diff shows what is meant"
        )
    return new


def without_empty(text: str, paths: set[Steps]) -> str:
    """Take away those headers below which there is nothing, so far as they are among `paths`."""
    for each in reversed(toml_scan.statements(text)):
        below = [
            other
            for other in toml_scan.statements(text)
            if other != each and other.path[: len(each.path)] == each.path
        ]
        if each.is_header and each.path in paths and not below and not each.is_listed:
            text = text[: _before(text, each)] + text[each.stop :]
    return text


def headers(text: str) -> set[Steps]:
    """List the tables that a file has headers for."""
    return {each.path for each in toml_scan.statements(text) if each.is_header}


def _read(text: str) -> Document | None:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_same(one: Document, other: Document) -> bool:
    """Compare without empty tables: one that only its contents made goes with them."""
    return difference.is_same(difference.pruned(one), difference.pruned(other))


def _set(text: str, edit: Edit) -> str:
    """Put a value where there is another, or where one of its table belongs."""
    path, value = edit.path, edit.value
    known = toml_scan.statements(text)
    for each in known:
        if each.is_header or each.is_listed or path[: len(each.path)] != each.path:
            continue
        rest = path[len(each.path) :]
        old = text[each.value : each.end]
        if rest and old[0] != "{":
            return _set(_removed(text, each.path), edit)  # whatever is there gives way
        if not isinstance(value, dict) or rest:
            new = toml_inline.changed(old, rest, value)
            return text[: each.value] + new + text[each.end :]
        return _set(_removed(text, path), edit)
    text = _removed(text, path)
    if isinstance(value, dict):
        return _added_table(text, path, value)
    return _added_pair(text, toml_scan.statements(text), path, value)


def _added_pair(text: str, known: list[Statement], path: Steps, value: Any) -> str:
    """Put a pair behind the last one of its table, whose header is made if it has none."""
    table = path[:-1]
    section = [each for each in known if each.table == table and not each.is_listed]
    pairs = [each for each in section if not each.is_header and each.path[:-1] == table]
    dotted = [
        each
        for each in known
        if not each.is_header and each.path[: len(table)] == table and each.table != table
        if len(each.table) < len(table) and not each.is_listed
    ]
    line = f"{toml_inline.key(path[-1:])} = {toml_inline.value(value)}"
    if pairs or section:
        last = (pairs or section)[-1]
        step = "" if pairs else _step(text, known)
        return _with_lines(text, last.stop, [_indent(text, last) + step + line])
    if dotted:
        last = dotted[-1]
        name = toml_inline.key(path[len(last.table) :])
        return _with_lines(
            text, last.stop, [f"{_indent(text, last)}{name} = {toml_inline.value(value)}"]
        )
    if not table:
        return _with_lines(text, _top(text, known), [line])
    return _added_table(text, table, {path[-1]: value})


def _added_table(text: str, path: Steps, value: Document) -> str:
    """Put a table behind those beside it, in the way in which they are written."""
    known = [each for each in toml_scan.statements(text) if not each.is_listed]
    step = _step(text, known)
    for length in range(len(path) - 1, 0, -1):
        beside = [each for each in known if each.path[:length] == path[:length]]
        if not beside:
            continue
        last = beside[-1]
        if not last.is_header and len(last.table) < length:  # dotted keys
            return _added_dotted(text, last, path, value)
        headers = [each for each in beside if each.is_header]
        peers = [each for each in headers if len(each.path) == len(path)] or headers
        indent = _indent(text, peers[-1])
        if len(peers[-1].path) < len(path) and indent:
            indent += (step or INDENT) * (len(path) - len(peers[-1].path))
        return _with_section(text, _section_end(text, last), _sections(path, value, indent, step))
    return _with_section(text, len(text), _sections(path, value, "", step))


def _added_dotted(text: str, last: Statement, path: Steps, value: Document) -> str:
    indent = _indent(text, last)
    lines = [
        f"{indent}{toml_inline.key(leaf[len(last.table) :])} = {toml_inline.value(each)}"
        for leaf, each in _leaves(path, value)
    ]
    return _with_lines(text, last.stop, lines)


def _leaves(path: Steps, value: Any) -> list[tuple[Steps, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [leaf for key, each in value.items() for leaf in _leaves((*path, key), each)]


def _sections(path: Steps, value: Document, indent: str, step: str) -> list[str]:
    """Write a table and those below it as lines; ``step`` is what pairs are indented by."""
    lines = [f"{indent}[{toml_inline.key(path)}]"]
    lines += [
        f"{indent}{step}{toml_inline.key((key,))} = {toml_inline.value(each)}"
        for key, each in value.items()
        if not isinstance(each, dict)
    ]
    # Headers are indented where those of the file are.
    deeper = indent + (step or INDENT) if indent else ""
    for key, each in value.items():
        if isinstance(each, dict):
            lines += ["", *_sections((*path, key), each, deeper, step)]
    is_only_outer = value and all(isinstance(each, dict) for each in value.values())
    return lines[2:] if is_only_outer else lines


def _removed(text: str, path: Steps) -> str:
    """Take away a pair, or a table with all that is below it."""
    for each in reversed(toml_scan.statements(text)):
        if each.is_listed and each.path[: len(path)] != path:
            continue
        if each.path[: len(path)] == path:
            start = _before(text, each) if each.is_header else each.start
            text = text[:start] + text[each.stop :]
        elif not each.is_header and path[: len(each.path)] == each.path:
            old = text[each.value : each.end]
            if old[0] == "{":
                new = toml_inline.changed(old, path[len(each.path) :], difference.ABSENT)
                text = text[: each.value] + new + text[each.end :]
    return text


def _before(text: str, header: Statement) -> int:
    """Return where a section begins: with the one blank line that parts it from the last one."""
    for blank in ("\r\n", "\n"):
        if text[: header.start].endswith("\n" + blank):
            return header.start - len(blank)
    return header.start


def _section_end(text: str, last: Statement) -> int:
    """Return where something new may follow a section: before what leads to the next header.

    Comments that stand alone belong to the section; those right above a header belong to that.
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


def _top(text: str, known: list[Statement]) -> int:
    """Return where a first pair may stand: behind the comments on top that a blank line ends."""
    first = known[0].start if known else len(text)
    head = text[:first]
    for match in reversed(list(BLANK_LINE.finditer(head))):
        if head[: match.start()].strip():
            return match.start()
    return len(head) if not known else 0


def _step(text: str, known: list[Statement]) -> str:
    """Return by how much more than its header a pair of this file is indented."""
    header = None
    for each in known:
        if each.is_header:
            header = each
        elif header and each.path[:-1] == header.path:
            return _indent(text, each).removeprefix(_indent(text, header))
    return ""


def _indent(text: str, statement: Statement) -> str:
    return text[statement.start : statement.key]


def _with_section(text: str, at: int, lines: list[str]) -> str:
    """Put a section into a file, parted by a blank line where its own sections are."""
    headers = [each for each in toml_scan.statements(text) if each.is_header and each.start]
    has_blanks = not headers or any(
        BLANK_END.search(text[max(0, each.start - NEAR) : each.start]) for each in headers
    )
    if not has_blanks:
        lines = [line for line in lines if line]
    elif text[:at].strip():
        lines = ["", *lines]
    return _with_lines(text, at, lines)


def _with_lines(text: str, at: int, lines: list[str]) -> str:
    """Put lines at the beginning of a line, ended as those of the file are."""
    end = "\r\n" if "\r\n" in text else "\n"
    before = text[:at]
    if before and not before.endswith("\n"):
        before += end
    return before + "".join(line + end for line in lines) + text[at:]
