# SPDX-License-Identifier: Apache-2.0
"""A call as an application of plumbum's: a class for each command of its chain."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import root
from nvidia_runtime.cli.tables.table import BOOLEAN

if TYPE_CHECKING:
    from nvidia_runtime.cli.parse import Call
    from nvidia_runtime.cli.tables.table import Command as Table
    from nvidia_runtime.cli.tables.table import Switch

ROOM = "nvidia_runtime.cli"


class Ctk(Command):
    """nvidia-ctk, which other commands are below."""

    PROGNAME = root.PROGRAM
    table = root.ROOT
    quiet: bool
    debugging: bool
    config: str

    def main(self, *_words: str) -> int:
        """Leave it to the command below."""
        return 0


def run(call: Call) -> int:
    """Run the command that is meant; return its exit code."""
    classes: list[type[Command]] = [Ctk, *map(load, call.chain[1:])]
    for above, name, below in zip(classes, call.names[1:], classes[1:], strict=False):
        above.subcommand(name, below)
    code: int = Ctk.run(words(call), exit=False)[1]
    return code


def load(table: Table) -> type[Command]:
    """Return the class of a command; a mere group gets one."""
    if not table.main:
        return type(table.name, (Command,), {"table": table, "main": lambda _self, *_words: 0})
    module, _, name = table.main.rpartition(".")
    loaded: type[Command] = getattr(import_module(f"{ROOM}.{module}"), name)
    return loaded


def words(call: Call) -> list[str]:
    """Return the words of a call in the one form that plumbum reads without a doubt."""
    result: list[str] = []
    for name, given in zip(call.names, call.given, strict=True):
        result += [name, *(word for switch in given for word in _flag(switch, given[switch]))]
    return [*result, "--", *call.words]


def _flag(switch: Switch, given: list[str]) -> list[str]:
    if not switch.field:
        return []
    if switch.kind == BOOLEAN:
        return [f"{switch.name}={given[0]}"]
    if not switch.argument:
        return [switch.name] if given == ["true"] else []
    # plumbum would take the next word for the value of --name=
    pairs = [[f"{switch.name}={value}"] if value else [switch.name, ""] for value in given]
    return [word for pair in pairs for word in pair]
