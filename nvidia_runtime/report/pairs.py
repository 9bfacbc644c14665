# SPDX-License-Identifier: Apache-2.0
"""Pairs of a key and a value in any text: JSON, TOML, YAML, logfmt, headers, options, variables.

Texts may be hostile: each part of one is looked at a limited number of times.  Where it is not
clear where a value ends, it ends later.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Hold = Callable[[str, str], str]
Kind = Callable[[str, str], str]

KEY = re.compile(
    r"""(?<![\w.-])(?P<option>--?)?(?P<key>[\w.-]+)
    (?:\\{0,15}["'])?
    (?P<separator>\s*(?::=|\?=|=>|->|==?|[:>]|%3[dD])|(?<=["'])[ \t]+(?=["'])|[ \t]+)""",
    re.VERBOSE,
)
SPACE = re.compile(r"[ \t]*")
MASKED = re.compile(r"<[a-z-]+ \d+>|\ue000\d+\ue001")
QUOTE = re.compile(r"\$?(?P<escape>\\{0,15})(?P<mark>[\"'])")
QUOTES = {mark: re.compile(rf"(?<!\\)(\\*){mark}") for mark in ('"', "'")}
TRIPLES = ('"""', "'''")
BLOCK = re.compile(r"[|>][-+\d]{0,2}[ \t]*(?:#[^\n]*)?$", re.MULTILINE)
LINE = re.compile(r"[^\n]*\n?")
START = re.compile(r"[ \t]*(?:- +)?(?:--?|[\"'])?")
# A word ends at a quote that something follows, as in JSON and in messages that are quoted.
WORD = re.compile(r"""(?:(?!\\{0,15}["'](?:\s{0,8}[,\]}:)]|\s|\Z)|</)\S)+""")
IN_ADDRESS = re.compile(r"[^\s&#\"'<\\]+")
SCHEME = re.compile(r"(?:basic|bearer|digest|token|negotiate|ntlm|aws4[\w-]*)[ \t]+", re.IGNORECASE)
# More words of the value of a variable that begins a line; those of another one have "=".
MORE = re.compile(r"(?:[ \t]+[^\s=\"']+(?![^\s]))+")
REST = re.compile(r"[^\n\"']*")
REST_OF_LINE = re.compile(r"[^\n]*")
# What follows a quote that ends something; "" is the end.
AFTER = ("", *" \t\r\n,;:.)]}>&|/?!\\")
END = ",;]})\\"
NOTHING = ("", "true", "false", "null", "none", "{}", "[]")
BRACKETS = {"[": "]", "{": "}"}
BRACKET = {mark: re.compile("[" + re.escape(mark + end) + "]") for mark, end in BRACKETS.items()}
LIST_ENTRY = re.compile(r"(?P<head>[\"']?\b[A-Za-z_]\w*=)(?P<value>[^\\\"'\n,\]]+)")
LONGEST_INDENT = 200


class Pairs:
    """Masks the values of a text's pairs: ``kind`` says what a key's value is, "" for nothing."""

    def __init__(self, kind: Kind, hold: Hold) -> None:
        self._kind = kind
        self._hold = hold

    def text(self, text: str) -> str:
        """Return the text with values held."""
        parts: list[str] = []
        done = position = 0
        while match := KEY.search(text, position):
            position = match.end("separator")
            if not match["separator"].strip() and not self._is_said(match, text):
                position = match.end("key")
                continue
            kind = self._kind(match["key"], match["separator"])
            if not kind:
                continue
            start, end, masked = self._value(text, match, kind)
            parts += text[done:start], masked
            done = position = max(end, position)
        return "".join([*parts, text[done:]])

    @staticmethod
    def _is_said(match: re.Match[str], text: str) -> bool:
        """Whether what only a space parts is a pair: an option, or a word and one in quotes."""
        following = text[match.end("separator") : match.end("separator") + 1]
        return bool(match["option"]) or following in ("'", '"', "\\")

    def _value(self, text: str, match: re.Match[str], kind: str) -> tuple[int, int, str]:
        """Return where a value is, and what takes its place."""
        start = match.end("separator")
        if match["separator"] != "=" or kind != "value":
            start = _after(SPACE, text, start)
        if is_end(text, start):
            # The value of "key:" may be in the lines below, that of "KEY=" is not there.
            if kind == "value":
                return start, start, ""
            return self._below(text, match, start, kind)
        if MASKED.match(text, start):
            end = _after(MASKED, text, start)
            return start, end, text[start:end]
        if text.startswith(TRIPLES, start):
            mark = text[start : start + 3]
            end = text.find(mark, start + 3)
            end = len(text) if end < 0 else end + 3
            return start, end, mark + self._hold(kind, text[start + 3 : end - 3]) + mark
        if quote := QUOTE.match(text, start):
            return self._quoted(text, quote, kind)
        if text[start] in BRACKETS and kind != "value":
            end = _bracketed(text, start)
            opened, closed = text[start], BRACKETS[text[start]]
            inner = text[start + 1 : end - 1]
            masked = self._hold(kind, inner) if inner.strip() else inner
            return start, end, opened + masked + closed
        if BLOCK.match(text, start):
            return self._below(text, match, _after(LINE, text, start), kind)
        return self._bare(text, match, start, kind)

    def _quoted(self, text: str, quote: re.Match[str], kind: str) -> tuple[int, int, str]:
        """Return a value in quotes, which may be in a text in quotes themselves."""
        depth, mark = len(quote["escape"]), quote["mark"]
        end = close = len(text)
        for other in QUOTES[mark].finditer(text, quote.end()):
            count = len(other[1])
            if mark == "'" and not depth:
                count = 0
            if count < depth or count % (2 * depth + 2) == depth:
                end, close = other.end() - 1 - min(count, depth), other.end()
                break
        value = text[quote.end() : end]
        masked = self._hold(kind, value) if value.lower() not in NOTHING else value
        start = quote.start()
        if text[close : close + 1] in AFTER or (depth and text[close] in "\"'"):
            return start, close, quote[0] + masked + text[end:close]
        # It began another one, as after an apostrophe, or it was a pair: 'it''s', of YAML.
        rest = _after(REST_OF_LINE, text, close)
        return start, rest, quote[0] + self._hold(kind, text[quote.end() : rest])

    def _bare(self, text: str, match: re.Match[str], start: int, kind: str) -> tuple[int, int, str]:
        before = text[match.start("key") - 1 : match.start("key")] if match.start("key") else ""
        end = self._bare_end(text, match, start, in_address=before in ("?", "&"))
        value = text[start:end].rstrip(END)
        end = start + len(value)
        is_nothing = value.strip().lower() in NOTHING
        return start, end, value if is_nothing else self._hold(kind, value)

    def _bare_end(self, text: str, match: re.Match[str], start: int, *, in_address: bool) -> int:
        if in_address:
            return _after(IN_ADDRESS, text, start)
        begin = _line(text, match.start())
        is_first = _after(START, text, begin) >= match.start("key")
        if is_header(match["key"]) or (is_first and match["separator"].endswith(":")):
            return max(_after(REST, text, start), _after(WORD, text, start))
        end = _after(WORD, text, _after(SCHEME, text, start))
        if is_first and not match["option"] and "=" in match["separator"]:
            end = _after(MORE, text, end)
        return end

    def _below(
        self, text: str, match: re.Match[str], start: int, kind: str
    ) -> tuple[int, int, str]:
        """Return the lines below a key that are deeper than it, or a list below it."""
        begin = _line(text, match.start())
        depth = _depth(text[begin : match.start("key")])
        first = end = _after(LINE, text, start) if text[start - 1 : start] != "\n" else start
        while end < len(text):
            line = LINE.match(text, end)
            body = line[0] if line else ""
            is_entry = body[depth:].startswith("- ") and not body[:depth].strip()
            if body.strip() and _depth(body) <= depth and not is_entry:
                break
            end += len(body)
        lines = text[first:end]
        if not lines.strip():
            return start, start, ""
        indent = lines[: len(lines) - len(lines.lstrip())]
        value = lines.strip()
        masked = value if MASKED.fullmatch(value) else self._hold(kind, value)
        trailing = lines[len(lines.rstrip()) :]
        return first, end, indent + masked + trailing


def is_header(key: str) -> bool:
    """Whether a key is a header's whose value has several words."""
    return key.lower().endswith(("authorization", "cookie"))


def is_end(text: str, position: int) -> bool:
    """Whether nothing follows in a line."""
    return text[position : position + 1] in ("", "\n", "\r")


def _line(text: str, position: int) -> int:
    """Return where a line begins, or a place far before a position in it."""
    least = max(position - LONGEST_INDENT, 0)
    begin = text.rfind("\n", least, position) + 1
    return begin or least


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _bracketed(text: str, start: int) -> int:
    """Return where what a bracket opens ends, or the text."""
    depth = 0
    pattern, opened = BRACKET[text[start]], text[start]
    for match in pattern.finditer(text, start):
        depth += 1 if match[0] == opened else -1
        if not depth:
            return match.end()
    return len(text)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def in_lists(text: str, kind: Kind, hold: Hold) -> str:
    """Mask the values of variables in lists of YAML and TOML, whatever their names are."""

    def masked(match: re.Match[str]) -> str:
        name = match["head"].strip("\"'=")
        if not kind(name.upper(), "=") or MASKED.match(match["value"]):
            return match[0]
        return match["head"] + hold("value", match["value"])

    def of_list(match: re.Match[str]) -> str:
        return match["head"] + LIST_ENTRY.sub(masked, match["body"])

    return ENVIRONMENT.sub(of_list, text)


ENVIRONMENT = re.compile(
    r"""(?P<head>\benv(?:ironment)?\\{0,7}["']?[ \t]*[:=]\s*)
    (?P<body>\[[^\]]{0,65536}|(?:[ \t]*-[ \t][^\n]*\n?)+)""",
    re.VERBOSE | re.IGNORECASE,
)
