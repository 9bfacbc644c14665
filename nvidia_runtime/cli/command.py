# SPDX-License-Identifier: Apache-2.0
"""What the commands of nvidia-ctk have in common: data on stdout, talk on stderr, exit codes.

plumbum parses; what it does not understand is said here in our words.  Ring: elsewhere.
"""

from __future__ import annotations

import difflib
import os
import sys
from typing import Any

from plumbum import cli
from plumbum.cli import switches

from nvidia_runtime import __version__, document
from nvidia_runtime.errors import NvidiaRuntimeError

# As the toolkit reads a boolean.
BOOLEANS = {
    **dict.fromkeys(document.TRUE, True),
    **dict.fromkeys(("", *document.FALSE), False),
}
UNKNOWN_COMMAND = 3
MISUSES = (
    switches.MissingMandatorySwitch,
    switches.PositionalArgumentsError,
    switches.SwitchCombinationError,
    switches.WrongArgumentType,
)


class Command(cli.Application):
    """A command: a word that it does not understand is an error like any other."""

    SUBCOMMAND_HELPMSG = False
    # Flags that were given as --flag=false, which beats their variable in the environment.
    switched_off: tuple[str, ...] = ()

    def tell(self, text: str) -> None:
        """Say something that is no data, unless nvidia-ctk was told to be quiet."""
        if not getattr(self.root_app, "quiet", False):
            print(text, file=sys.stderr)

    def warn(self, text: object) -> None:
        """Say what somebody should look after."""
        self.tell(f"warning: {text}")

    def debug(self, text: str) -> None:
        """Say what only matters when something goes wrong."""
        if getattr(self.root_app, "debugging", False):
            self.tell(f"debug: {text}")

    @cli.switch(
        ["-v", "--version"], overridable=True, group="Meta-switches", help="print the version"
    )
    def version(self) -> None:
        """Print the version, in the form that scripts know from the toolkit."""
        print(f"NVIDIA Container Toolkit CLI version {__version__}")

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
        """Put flags in front of words, so that ``-`` may be one, up to a command's name.

        ``--quiet=true`` is read as the toolkit does: as the flag alone, or as nothing.
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
            known = self._switches_by_name.get(name.lstrip("-"))
            if equals and known and not known.argtype:
                if boolean(value, name):
                    flags.append(name)
                else:
                    self.switched_off += (name.lstrip("-"),)
                continue
            if equals and not value and known:  # plumbum would take the next word for it
                flags += [name, ""]
                continue
            flags.append(word)
            if known and known.argtype and not equals:
                if not rest:
                    raise NvidiaRuntimeError(f"flag {word} has no value")
                flags.append(rest.pop(0))
        return [*flags, "--", *words, *rest[1:]]

    def _misuse(self, error: switches.SwitchError) -> NvidiaRuntimeError:
        """Say what is wrong with the words, and what might have been meant."""
        text = str(error)
        hint = f"'{self.PROGNAME} --help' lists what it takes"
        if isinstance(error, switches.UnknownSwitch):
            flag = text.rpartition(" ")[2]
            known = [f"--{name}" for name in self._switches_by_name if len(name) > 1]
            if near := difflib.get_close_matches(flag, known, 1):
                hint = f"did you mean {near[0]}? {hint}"
            return NvidiaRuntimeError(f"unknown flag {flag}", hint=hint)
        what = text.partition(":\n")[0]  # what follows is Python's
        return NvidiaRuntimeError(what[:1].lower() + what[1:], hint=hint)


class Group(Command):
    """A command that only has commands below it."""

    def main(self) -> int:
        """Explain the commands when none is given."""
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
        """Find the first word that is neither a flag nor a flag's value; none is the end."""
        at = 0
        while at < len(argv) and argv[at].startswith("-"):
            known = self._switches_by_name.get(argv[at].lstrip("-"))
            at += 2 if known and known.argtype else 1
        return at

    def _unknown(self, word: str) -> NvidiaRuntimeError:
        near = difflib.get_close_matches(word, self._subcommands, 1)
        hint = f"did you mean '{self.PROGNAME} {near[0]}'? " if near else ""
        hint += f"'{self.PROGNAME} --help' lists the commands"
        # The toolkit's own words: scripts that try whether a command exists look for them.
        what = f"No help topic for '{word}'"
        return NvidiaRuntimeError(what, hint=hint, exit_code=UNKNOWN_COMMAND)


class Configured(Command):
    """A command that reads config.toml."""

    config = cli.SwitchAttr(
        ["--config", "-c"], str, "", help="the config.toml; by default the one the runtime reads"
    )

    def config_path(self) -> str:
        """Return the absolute path of the config.toml that is meant, which need not exist."""
        from nvidia_runtime.store import files  # only for those that read one

        given = self.config or str(getattr(self.root_app, "config", ""))
        path = os.path.abspath(given) if given else files.config_path()
        if given and not os.path.exists(path):
            raise NvidiaRuntimeError("there is no such config.toml", path)
        self.debug(f"settings from {path}{'' if os.path.exists(path) else ' (absent: defaults)'}")
        return path


def boolean(text: str, where: str) -> bool:
    """Read a boolean as the toolkit does; an empty one is false."""
    if text not in BOOLEANS:
        what = f"must be true or false, not {text!r}"
        raise NvidiaRuntimeError(what, where=where, hint="or leave it out")
    return BOOLEANS[text]
