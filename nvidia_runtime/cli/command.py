# SPDX-License-Identifier: Apache-2.0
"""What the commands of nvidia-ctk have in common: data on stdout, messages on stderr, exit codes.

plumbum parses the words; this module words its errors.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Iterable
from typing import Any

from plumbum import cli
from plumbum.cli import switches

from nvidia_runtime import TOOLKIT, __version__, document, log
from nvidia_runtime.errors import NvidiaRuntimeError

BOOLEANS = {"": False} | dict.fromkeys(document.TRUE, True) | dict.fromkeys(document.FALSE, False)
UNKNOWN_COMMAND = 3
MISUSES = (
    switches.MissingMandatorySwitch,
    switches.PositionalArgumentsError,
    switches.SwitchCombinationError,
    switches.WrongArgumentType,
)


class Command(cli.Application):
    """A command that reports an unknown word as `NvidiaRuntimeError`."""

    SUBCOMMAND_HELPMSG = False
    # Flags given as --flag=false, which overrides their variable in the environment.
    switched_off: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """Split the docstring: a list of subcommands needs its first paragraph only."""
        paragraphs = [" ".join(part.split()) for part in (inspect.getdoc(cls) or "").split("\n\n")]
        cls.DESCRIPTION = paragraphs[0]
        cls.DESCRIPTION_MORE = "\n\n".join(paragraphs[1:]) + "\n" * (len(paragraphs) > 1)

    def tell(self, text: str) -> None:
        """Print a message on stderr, unless nvidia-ctk is quiet; a terminal has nothing to obey."""
        if not getattr(self.root_app, "quiet", False):
            print("\n".join(map(log.shown, text.split("\n"))), file=sys.stderr)

    def warn(self, text: object) -> None:
        """Print a warning on stderr."""
        self.tell(f"warning: {text}")

    def debug(self, text: str) -> None:
        """Print a message on stderr if nvidia-ctk debugs."""
        if getattr(self.root_app, "debugging", False):
            self.tell(f"debug: {text}")

    @cli.switch(
        ["-v", "--version"], overridable=True, group="Meta-switches", help="print the version"
    )
    def version(self) -> None:
        """Print the version in the toolkit's form, which scripts parse."""
        print(f"NVIDIA Container Toolkit CLI version {TOOLKIT}")
        print(f"implementation: nvidia-container-runtime {__version__}")

    def _parse_args(self, argv: list[str]) -> Any:
        try:
            return super()._parse_args(self._arranged(argv))
        except switches.SwitchError as error:
            raise self._misuse(error) from None

    def _validate_args(self, *arguments: Any) -> Any:
        try:
            return super()._validate_args(*arguments)
        except MISUSES as error:
            raise self._misuse(error) from None

    def _arranged(self, argv: list[str]) -> list[str]:
        """Move the flags in front of the words, so that ``-`` may be a word, up to a subcommand.

        ``--quiet=true`` becomes the flag alone and ``--quiet=false`` nothing, as in the toolkit.
        """
        flags: list[str] = []
        words: list[str] = []
        rest = list(argv)
        while rest and rest[0] != "--":
            if rest[0] in self._subcommands:
                return flags + rest
            word = rest.pop(0)
            if word[:1] != "-" or word == "-":
                words.append(word)
                continue
            name, equals, value = word.partition("=")
            switch = self._switches_by_name.get(name.lstrip("-"))
            if equals and switch and not switch.argtype:
                if boolean(value, name):
                    flags.append(name)
                else:
                    self.switched_off += (name.lstrip("-"),)
                continue
            if equals and not value and switch:  # plumbum would take the next word as the value
                flags += [name, ""]
                continue
            flags.append(word)
            if switch and switch.argtype and not equals:
                if not rest:
                    raise NvidiaRuntimeError(f"flag {word} has no value")
                flags.append(rest.pop(0))
        return [*flags, "--", *words, *rest[1:]]

    def _misuse(self, error: switches.SwitchError) -> NvidiaRuntimeError:
        """Return an error that says what is wrong with the words, with a suggestion if possible."""
        text = str(error)
        hint = f"'{self.PROGNAME} --help' lists its flags and arguments"
        if isinstance(error, switches.UnknownSwitch):
            flag = text.rpartition(" ")[2]
            flags = [f"--{name}" for name in self._switches_by_name if len(name) > 1]
            return NvidiaRuntimeError(f"unknown flag {flag}", hint=suggestion(flag, flags) + hint)
        what = text.partition(":\n")[0]  # Python's own message follows
        return NvidiaRuntimeError(what[:1].lower() + what[1:], hint=hint)


class Group(Command):
    """A command that consists of subcommands."""

    def main(self) -> int:
        """Print the help if no subcommand is given."""
        if not self.nested_command:
            self.help()
        return 0

    def _parse_args(self, argv: list[str]) -> Any:
        at = self._first_word(argv)
        if at < len(argv) and argv[at] in ("help", "h"):
            argv = [*argv[:at], *argv[at + 1 :], "--help"]
            at = self._first_word(argv)
        if at < len(argv) and argv[at] not in self._subcommands:
            raise self._unknown(argv[at])
        return super()._parse_args(argv)

    def _first_word(self, argv: list[str]) -> int:
        """Return the index of the first word that is neither a flag nor a flag's value."""
        at = 0
        while at < len(argv) and argv[at].startswith("-"):
            switch = self._switches_by_name.get(argv[at].lstrip("-"))
            at += 2 if switch and switch.argtype else 1
        return at

    def _unknown(self, word: str) -> NvidiaRuntimeError:
        hint = suggestion(word, self._subcommands, f"'{self.PROGNAME} {{}}'")
        hint += f"'{self.PROGNAME} --help' lists the commands"
        # The toolkit's sentence, by which scripts tell whether a command exists.
        what = f"No help topic for '{word}'"
        return NvidiaRuntimeError(what, hint=hint, exit_code=UNKNOWN_COMMAND)


class Configured(Command):
    """A command that reads config.toml."""

    config = cli.SwitchAttr(
        ["--config", "--config-file", "-c"], str, "", help="the config.toml; default: the runtime's"
    )

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


def boolean(text: str, where: str) -> bool:
    """Read a boolean as the toolkit does; an empty text is false."""
    if text not in BOOLEANS:
        what = f"must be true or false, not {text!r}"
        raise NvidiaRuntimeError(what, where=where, hint="or leave it out")
    return BOOLEANS[text]


def check_seconds(flag: str, value: float) -> None:
    """Refuse a time that is too short or too long to be meant."""
    if not 0.01 <= value <= 86400:
        raise NvidiaRuntimeError(f"{flag} must be from 0.01 to 86400 seconds")


def suggestion(word: str, names: Iterable[str], form: str = "{}") -> str:
    """Return the beginning of a hint at the name that resembles a word, "" if none does."""
    near = difflib.get_close_matches(word, list(names), 1)
    return f"did you mean {form.format(near[0])}? " if near else ""
