# SPDX-License-Identifier: Apache-2.0
"""What CONTRIBUTING.md promises: one thing that is added touches two files at most."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

TREE = Path(__file__).resolve().parents[1]
PAGE = TREE / "CONTRIBUTING.md"
PACKAGE = TREE / "nvidia_runtime"


# What has the flags of the toolkit's installer, whose names and one mode are given.
TOOLKITS = ("nvidia_runtime/cli/tables/install.py", "nvidia_runtime/installer/")


class Row(NamedTuple):
    """A kind of things, the file that each has of its own, the one that lists all, an example."""

    kind: str
    file: str
    listed_in: str
    example: str


def rows() -> list[Row]:
    """Read the table."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return [Row(kind, *(cell.strip("`") for cell in rest)) for kind, *rest in cells]


@functools.cache
def code(file: Path) -> str:
    """Return a module's code without its comments and docstrings."""
    text = file.read_text()
    docstrings = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and ast.get_docstring(node) is not None
    }
    return "\n".join(
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type != tokenize.COMMENT and token.start[0] not in docstrings
    )


def mentions(name: str) -> set[str]:
    """List the files of the package whose code has a name in it, as a word.

    A part of a longer name is not, such as of management.nvidia.com.
    """
    words = re.compile(
        rf"(?<![a-z0-9_-]){name.replace(' ', '[. ]')}(?![a-z0-9_-]|\.nvidia)", re.IGNORECASE
    )
    return {
        str(file.relative_to(TREE)) for file in PACKAGE.rglob("*.py") if words.search(code(file))
    }


def test_the_table_is_found() -> None:
    assert [row.example for row in rows()] == ["crio", "noop", "management", "t4x1", "cdi inject"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.example)
def test_one_thing_touches_two_files(row: Row) -> None:
    own = row.file.replace("NAME", row.example.replace(" ", "/"))
    files = {own, row.listed_in} - {""}
    places = mentions(row.example)

    assert [file for file in sorted(files) if not (TREE / file).is_file()] == []
    assert row.listed_in in places
    assert {file for file in places - files if not file.startswith(TOOLKITS)} == set()


def test_code_is_what_is_neither_comment_nor_docstring(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        '"""One."""\n\n# two\nthree = "four"  # five\n\ndef six():\n    """Seven\n    it."""\n'
    )

    assert code(file).split() == [*("three", "=", '"four"'), *("def", "six", "(", ")", ":")]


def test_models_are_there() -> None:
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("Then read")]
    names = re.findall(r"`([a-z_/]+)`", line)

    assert len(names) > 3
    assert [name for name in names if not (PACKAGE / f"{name}.py").is_file()] == []


def test_page_fits_one_screen() -> None:
    assert len(PAGE.read_text().splitlines()) <= 40
