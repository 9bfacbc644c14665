# SPDX-License-Identifier: Apache-2.0
"""The text of a TOML document that has tables, lists of tables, and in these what fits a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

OCTAL = ("mode",)  # numbers that are read as such


def dump(document: dict[str, Any]) -> str:
    """Return the text; tables come behind what is not one, as TOML has it."""
    return "\n".join("".join(f"{line}\n" for line in part) for part in _parts(document))


def _parts(document: dict[str, Any]) -> Iterator[list[str]]:
    tables = {key: value for key, value in document.items() if _is_table(value)}
    yield [f"{key} = {_value(key, value)}" for key, value in document.items() if key not in tables]
    for key, value in tables.items():
        for entry in value if isinstance(value, list) else [value]:
            head = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            yield [head, *(f"{name} = {_value(name, one)}" for name, one in entry.items())]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:#o}" if key in OCTAL else str(value)
    if isinstance(value, list):
        if any(isinstance(one, dict) for one in value):
            return "[\n" + "".join(f"  {_value(key, one)},\n" for one in value) + "]"
        return f"[{', '.join(_value(key, one) for one in value)}]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{name} = {_value(name, one)}" for name, one in value.items()) + " }"
        )
    return _text(value)


def _text(text: str) -> str:
    """Return a text in quotes, one of several lines in as many."""
    lines = [json.dumps(line, ensure_ascii=False)[1:-1] for line in text.split("\n")]
    quoted = "\n".join(lines).replace("\x7f", "\\u007f")
    if len(lines) == 1:
        return f'"{quoted}"'
    if '""' not in text and not text.endswith('"'):
        quoted = quoted.replace('\\"', '"')
    return f'"""\n{quoted}"""'
