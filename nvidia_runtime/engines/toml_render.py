# SPDX-License-Identifier: Apache-2.0
"""A TOML file of our own, written as containerd writes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.engines import toml_inline

if TYPE_CHECKING:
    from nvidia_runtime.engines.difference import Document, Steps

INDENT = "  "


def render(document: Document) -> str:
    """Write a document, with two spaces for each level of tables."""
    return "\n".join(_tables(document, (), "")) + "\n"


def _tables(document: Document, path: Steps, indent: str) -> list[str]:
    lines = [
        f"{indent}{toml_inline.key((key,))} = {toml_inline.value(value)}"
        for key, value in document.items()
        if not isinstance(value, dict)
    ]
    for key, value in document.items():
        if isinstance(value, dict):
            below = (*path, key)
            if value and all(isinstance(item, dict) for item in value.values()):
                # A header with nothing but tables below it is not needed.
                lines += _tables(value, below, indent)
            else:
                lines += ["", f"{indent}[{toml_inline.key(below)}]"]
                lines += _tables(value, below, indent + INDENT)
    return lines[1:] if not path and lines and not lines[0] else lines
