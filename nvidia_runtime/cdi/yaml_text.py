# SPDX-License-Identifier: Apache-2.0
"""A CDI spec as YAML text, in the layout of the CDI library of Go: four columns a level.

A hand-written emitter: PyYAML has no such layout, and is slow.
"""

from __future__ import annotations

from nvidia_runtime.document import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INDENT = 4
# The last character that has an escape of four digits.
LAST = 0xFFFF
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# A text of these characters that begins with one of BEGINNINGS is a string in all versions of YAML.
DIGITS = frozenset("0123456789")
PLAIN = LETTERS | DIGITS | frozenset("/_.+=:@-")
BEGINNINGS = ("/", "../", "--")
# YAML 1.1 has more booleans than 1.2.
WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def dumps(document: dict[str, Any]) -> str:
    """Write a document of mappings, lists, strings, numbers and booleans."""
    return "---\n" + "".join(f"{line}\n" for line in _mapping(document, ""))


def _mapping(value: dict[str, Any], indent: str) -> list[str]:
    lines = []
    inner = " " * (len(indent) // INDENT * INDENT + INDENT)  # the next multiple of four
    for name, item in value.items():
        key = f"{indent}{_scalar(name)}:"
        if item and isinstance(item, dict):
            lines += [key, *_mapping(item, inner)]
        elif item and isinstance(item, list):
            lines += [key, *_list(item, inner)]
        else:
            lines.append(f"{key} {_scalar(item)}")
    return lines


def _list(values: list[Any], indent: str) -> list[str]:
    """Write a list; an entry's own lines begin two columns after its dash."""
    lines = []
    for value in values:
        if value and isinstance(value, dict):
            first, *rest = _mapping(value, f"{indent}  ")
            lines += [f"{indent}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(value)}")
    return lines


def _scalar(value: object) -> str:
    """Write a scalar; JSON's quoting is YAML's, and so are its empty lists and mappings."""
    if not isinstance(value, str):
        return quote(value)
    if _is_plain(value):
        return value
    # YAML has one escape for what JSON writes as two surrogates.
    parts = [quote(c)[1:-1] if ord(c) <= LAST else f"\\U{ord(c):08x}" for c in value]
    return f'"{"".join(parts)}"'


def _is_plain(text: str) -> bool:
    if not text or not PLAIN.issuperset(text) or text[-1] == ":" or text.lower() in WORDS:
        return False
    is_version = text.count(".") > 1 and DIGITS.issuperset(text.replace(".", "0"))
    return text[0] in LETTERS or text.startswith(BEGINNINGS) or is_version
