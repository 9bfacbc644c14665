# SPDX-License-Identifier: Apache-2.0
"""The tables of commands: whole, without contradictions, and as the commands' classes have them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
import shim

from nvidia_runtime.cdi import transform
from nvidia_runtime.cli import application, values
from nvidia_runtime.cli.runtime import configure
from nvidia_runtime.cli.tables import root
from nvidia_runtime.cli.tables.table import BOOLEAN, INTEGER, NUMBER, Command, Switch
from nvidia_runtime.engines import restart
from nvidia_runtime.watch.service import Timing


def commands(command: Command = root.ROOT, above: str = "") -> Iterator[tuple[str, Command]]:
    """Walk the commands, each with its name in full."""
    name = f"{above} {command.name}".strip()
    yield name, command
    for below in command.below:
        yield from commands(below, name)


ALL = dict(commands())
RUNNING = {name: command for name, command in ALL.items() if command.main}


@pytest.mark.parametrize("name", ALL)
def test_names_are_unambiguous(name: str) -> None:
    command = ALL[name]
    names = [name for switch in command.switches for name in switch.names]
    below = [name for other in command.below for name in other.names]

    assert len(names) == len(set(names))
    assert len(below) == len(set(below))
    assert all(name.startswith("--") == (len(name) > 2) for name in names)
    assert all(switch.name.startswith("--") for switch in command.switches)


@pytest.mark.parametrize("name", ALL)
def test_switches_of_all_commands_stay_those_of_all(name: str) -> None:
    """A command's own --config names another file; the others mean the same everywhere."""
    own = {name for switch in ALL[name].switches for name in switch.names}
    everywhere = {name for switch in root.ROOT.switches for name in switch.names} - {"--config"}

    assert name == root.PROGRAM or own & everywhere == set()


@pytest.mark.parametrize("name", ALL)
def test_values_have_a_source(name: str) -> None:
    command = ALL[name]
    names = [switch.values for switch in command.switches if switch.values]

    assert set(names) <= set(values.SOURCES)
    assert command.values in ("", values.FILES, *values.SOURCES)
    for switch in command.switches:
        assert ("{values}" in switch.text) <= bool(switch.values)
        assert not (switch.choices and switch.values)
        has_value = bool(switch.argument) or switch.kind == BOOLEAN
        assert has_value or not (switch.values or switch.choices or switch.default)


def kind(switch: Switch) -> str:
    """Return the type that the attribute of a switch has."""
    if not switch.argument and switch.kind != BOOLEAN:
        return "bool"
    one = {NUMBER: "float", INTEGER: "int"}.get(switch.kind, "str")
    return f"list[{one}]" if switch.is_list else one


@pytest.mark.parametrize("name", RUNNING)
def test_class_has_the_attributes_of_its_table(name: str) -> None:
    command = RUNNING[name]
    loaded = application.load(command)
    said: dict[str, str] = {}
    for one in reversed(loaded.mro()):
        if one.__module__.startswith("nvidia_runtime."):
            said |= vars(one).get("__annotations__", {})
    fields = {switch.field: kind(switch) for switch in command.switches if switch.field}

    assert loaded.table is command
    assert {field: said.get(field) for field in fields} == fields
    assert set(vars(loaded).get("__annotations__", {})) <= set(fields)


def test_defaults_are_those_of_the_service() -> None:
    watch = {switch.field: switch.default for switch in ALL["nvidia-ctk cdi watch"].switches}

    assert watch["interval"] == Timing().interval
    assert watch["settle"] == Timing().quiet
    assert watch["patience"] == Timing().patience


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("restarts", restart.WAYS),
        ("sides", transform.RELATIVE_TO),
        ("sources", (configure.FILE, configure.COMMAND)),
        ("config-modes", (configure.FILE_MODES[1], configure.HOOK_MODES[0])),
        ("shells", ("bash", "zsh", "fish")),
    ],
)
def test_values_are_those_of_the_code(name: str, constants: tuple[str, ...]) -> None:
    assert sorted(values.of(name)) == sorted(constants)


@pytest.mark.parametrize("name", sorted(set(values.SOURCES) - {"containers", "devices"}))
def test_there_are_values(name: str) -> None:
    assert values.of(name)


def codes_of(tree: ast.AST) -> Iterator[str]:
    """Return what main and the methods that end it return, and the codes of errors, as written."""
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for name, function in functions.items():
        for node in ast.walk(function):
            if not isinstance(node, ast.Return) or node.value is None or name != "main":
                continue
            last = ast.unparse(node.value).partition("(")[0].removeprefix("self.")
            ends = [functions[last]] if last in functions else []
            inner = [end for one in ends for end in ast.walk(one) if isinstance(end, ast.Return)]
            yield from (ast.unparse(end.value) for end in (node, *inner) if end.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "exit_code":
            yield ast.unparse(node.value)


def test_exit_codes_are_those_of_the_table() -> None:
    """Whatever a command ends with, but for the program that simulate becomes."""
    files = (shim.TREE / "nvidia_runtime/cli").rglob("*.py")
    codes = {code for file in files for code in codes_of(ast.parse(file.read_text()))}
    named = {code.removeprefix("root.") for code in codes if code.removeprefix("root.").isupper()}

    assert {getattr(root, name) for name in named} <= set(root.EXIT_CODES)
    assert {"KEPT", "NO_DRIVER", "BUSY", "UNKNOWN_COMMAND"} <= named
    assert {code for code in codes if code.isdecimal()} <= {"0", "1"}
