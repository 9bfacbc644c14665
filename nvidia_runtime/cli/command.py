# SPDX-License-Identifier: Apache-2.0
"""What the commands of nvidia-ctk have in common: data on stdout, messages on stderr, exit codes.

plumbum gives a command its switches' values, by the table, and runs it.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from nvidia_runtime import log
from nvidia_runtime.cli import plumbum_part, screen
from nvidia_runtime.cli.tables.table import BOOLEAN, INTEGER, NUMBER
from nvidia_runtime.errors import NvidiaRuntimeError

plumbum_part.load()
from plumbum.cli import switches  # noqa: E402 (as above)
from plumbum.cli.application import Application  # noqa: E402

if TYPE_CHECKING:
    from nvidia_runtime.cli.tables.table import Command as Table
    from nvidia_runtime.cli.tables.table import Switch

TYPES = {NUMBER: float, INTEGER: int}
# What plumbum says of a value that is no number.
WRONG_TYPE = re.compile(r"Argument of (\S+) expected to be <class '(int|float)'>, not (.*)")
NUMBERS = {"int": "a whole number", "float": "a number"}
MISUSES = (switches.PositionalArgumentsError, switches.WrongArgumentType)


class Command(Application):
    """A command with the switches of its table, which are its attributes."""

    COLOR_USAGE = ""  # type: ignore[assignment]  # plumbum looks for none then
    table: Table

    def __init_subclass__(cls) -> None:
        """Add the switches of the table that the class itself names."""
        for switch in vars(cls)["table"].switches if "table" in vars(cls) else ():
            if switch.field:
                setattr(cls, switch.field, _attribute(switch))

    @property
    def is_quiet(self) -> bool:
        """Whether only errors are printed on stderr."""
        return bool(getattr(self.root_app, "quiet", False))

    def tell(self, text: str, before: str = "") -> None:
        """Print a message on stderr, unless nvidia-ctk is quiet; a terminal has nothing to obey.

        ``before`` is ours, and may have a colour.
        """
        if not self.is_quiet:
            print(before + "\n".join(map(log.shown, text.split("\n"))), file=sys.stderr)

    def warn(self, text: object) -> None:
        """Print a warning on stderr."""
        self.tell(str(text), screen.painted("warning:", screen.YELLOW, sys.stderr) + " ")

    def debug(self, text: str) -> None:
        """Print a message on stderr if nvidia-ctk debugs."""
        if getattr(self.root_app, "debugging", False):
            self.tell(f"debug: {text}")

    def _parse_args(self, argv: list[str]) -> Any:
        try:
            return super()._parse_args(argv)
        except switches.SwitchError as error:
            raise self._misuse(error) from None

    def _validate_args(self, *arguments: Any) -> Any:
        try:
            return super()._validate_args(*arguments)
        except MISUSES as error:
            raise self._misuse(error) from None

    def _misuse(self, error: switches.SwitchError) -> NvidiaRuntimeError:
        """Return an error that says what is wrong with the words."""
        what = str(error).partition(":\n")[0]  # Python's own message follows
        if wrong := WRONG_TYPE.fullmatch(what):
            what = f"--{wrong[1]} must be {NUMBERS[wrong[2]]}, not {wrong[3]}"
        if isinstance(error, switches.PositionalArgumentsError):
            is_missing = what.startswith("Expected at least")
            what = "an argument is missing" if is_missing else "there are too many arguments"
        hint = f"'{self.PROGNAME} --help' lists its flags and arguments"
        return NvidiaRuntimeError(what[:1].lower() + what[1:], hint=hint)


class Configured(Command):
    """A command that reads config.toml."""

    config: str

    def config_path(self, *, must_exist: bool = True) -> str:
        """Return the absolute path of the config.toml of this command.

        Raises `NvidiaRuntimeError` if a file is named that does not exist and must.
        """
        from nvidia_runtime.store import files  # only for commands that read one

        commands = (self, self.parent, self.root_app)
        given = next(
            filter(None, (str(getattr(command, "config", "")) for command in commands)), ""
        )
        path = os.path.abspath(given or files.config_path())
        exists = os.path.exists(path)
        if given and must_exist and not exists:
            raise NvidiaRuntimeError("there is no such config.toml", path)
        self.debug(f"settings from {path}{'' if exists else ' (absent: defaults)'}")
        return path


def check_seconds(flag: str, value: float) -> None:
    """Refuse a time that is too short or too long to be meant."""
    if not 0.01 <= value <= 86400:
        raise NvidiaRuntimeError(f"{flag} must be from 0.01 to 86400 seconds")


def _attribute(switch: Switch) -> Any:
    """Return plumbum's form of a switch; it replaces one of the same name in a class above."""
    names = list(switch.names)
    if not switch.argument and switch.kind != BOOLEAN:
        return switches.Flag(names, overridable=True)
    kind = TYPES.get(switch.kind, str)
    default: Any = kind(switch.default or 0) if kind is not str else switch.default
    if switch.is_list:
        default = []
    return switches.SwitchAttr(names, kind, default, list=switch.is_list, overridable=True)
