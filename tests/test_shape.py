# SPDX-License-Identifier: Apache-2.0
"""How large and how nested our code may be, and where a module may lie."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from nvidia_runtime.compile import config, hot_path

PACKAGE = Path(__file__).resolve().parents[1] / "nvidia_runtime"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Everything else lies in a room.
ROOT = {
    *("__init__", "__main__", "start", "runtime", "create", "errors", "log", "document"),
    "schemas",
}
LONGEST_MODULE, LONGEST_FUNCTION = 300, 50
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension)


def functions(file: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if type(node) is ast.FunctionDef]


def texts(file: Path) -> set[str]:
    """Return the texts that a module writes, docstrings too."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if type(node) is ast.Constant]
    return {node.value for node in nodes if type(node.value) is str}


def lines(node: ast.FunctionDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def complexity(function: ast.AST) -> int:
    """Count the ways through a function, those of an ``and`` or ``or`` too."""
    nodes = list(ast.walk(function))
    return (
        1
        + sum(isinstance(node, (*BRANCHES, ast.match_case)) for node in nodes)
        + sum(len(node.ifs) for node in nodes if isinstance(node, ast.comprehension))
        + sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    )


def test_root_of_the_package() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} <= ROOT


@pytest.mark.parametrize(
    "room",
    sorted(
        {name.rpartition(".")[0].partition(".")[0] for group in hot_path.GROUPS for name in group}
        - {""}
    ),
)
def test_package_of_the_hot_path_is_a_docstring(room: str) -> None:
    """`start` puts it into ``sys.modules`` without its ``__init__``."""
    (statement,) = ast.parse((PACKAGE / room / "__init__.py").read_text()).body

    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Constant)
    assert isinstance(statement.value.value, str)


def test_name_of_a_setting_is_written_once() -> None:
    """Beside the table of all settings with their defaults."""
    places: dict[str, list[str]] = {}
    for file in MODULES:
        for name in texts(file) & set(config.DEFAULTS):
            places.setdefault(name, []).append(str(file.relative_to(PACKAGE)))

    assert places.keys() >= {"disable-require", "nvidia-ctk.path"}
    assert {name: files for name, files in places.items() if len(files) > 2} == {}


def test_long_modules() -> None:
    """None is, unless its docstring says why it is long."""
    long = [
        str(file.relative_to(PACKAGE))
        for file in MODULES
        if len(file.read_text().splitlines()) > LONGEST_MODULE
        and "long" not in (ast.get_docstring(ast.parse(file.read_text())) or "")
    ]

    assert long == []


def test_long_functions() -> None:
    """None is, unless its docstring says why it is long."""
    long = [
        f"{file.relative_to(PACKAGE)}: {function.name}"
        for file in MODULES
        for function in functions(file)
        if lines(function) > LONGEST_FUNCTION and "long" not in (ast.get_docstring(function) or "")
    ]

    assert long == []


def test_the_story_fits_one_screen() -> None:
    (inject,) = [node for node in functions(PACKAGE / "create.py") if node.name == "inject"]

    assert lines(inject) <= 25
    assert complexity(inject) <= 8


@pytest.mark.parametrize(
    ("code", "ways"),
    [
        ("pass", 1),
        ("if a: pass\nelse: pass", 2),
        ("if a and b or c: pass", 4),
        ("for a in b: pass", 2),
        ("[a for a in b if c if d]", 4),
        ("try: a\nexcept B: c", 2),
        ("a = b if c else d", 2),
        ("match a:\n  case 1: pass\n  case _: pass", 3),
    ],
)
def test_complexity(code: str, ways: int) -> None:
    assert complexity(ast.parse(code)) == ways
