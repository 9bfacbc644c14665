# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config: print config.toml, change it, or write a new one."""

from __future__ import annotations

import os

from plumbum import cli

from nvidia_runtime.cli.command import Command, Configured, Group
from nvidia_runtime.errors import NvidiaRuntimeError

SEPARATOR = ":"


class Config(Group, Configured):
    """Print config.toml, or change it; common settings that it leaves out become comments."""

    assignments = cli.SwitchAttr(["--set"], str, list=True, help="KEY=VALUE, or KEY for true")
    separator = cli.SwitchAttr(
        ["--set-list-separator"],
        str,
        SEPARATOR,
        help="the separator of list elements in --set; if it is a colon, so is a comma",
    )
    in_place = cli.Flag(["-i", "--in-place"], help="change the file itself")
    output = cli.SwitchAttr(["--output", "-o"], str, "", help="the file to write; default: stdout")

    def main(self) -> int:
        """Print the file with its changes, or write it."""
        if self.nested_command:
            return 0
        if self.in_place and self.output:
            what = "--in-place and --output cannot be used together"
            raise NvidiaRuntimeError(what, hint="leave out one of them")
        if not self.separator:
            raise NvidiaRuntimeError("--set-list-separator must not be empty")
        from nvidia_runtime.cli.config import revision  # TOML, which 'nvidia-ctk --help' spares

        path = self.config_path(must_exist=False)
        is_own = self.in_place or os.path.realpath(self.output or os.devnull) == os.path.realpath(
            path
        )
        make = revision.change if is_own else revision.revise
        revised = make(path, self.assignments, self.separator)
        for warning in revised.warnings:
            self.warn(warning)
        if self.output and not is_own:
            revision.save(self.output, revised.after)
        elif not is_own:
            print(revised.after, end="")
        return 0


class Default(Command):
    """Print a new config.toml."""

    output = cli.SwitchAttr(["--output", "-o"], str, "", help="the file to write; default: stdout")

    def main(self) -> int:
        """Print it, or write it into an existing folder."""
        from nvidia_runtime.cli.config import revision, toml_text  # as above

        folder = os.path.dirname(self.output) or "."
        if not self.output:
            print(toml_text.default(), end="")
        elif not os.path.isdir(folder):
            raise NvidiaRuntimeError("there is no such folder", where=folder)
        else:
            revision.save(self.output, toml_text.default())
        return 0


for _name in ("default", "create-default", "generate-default"):
    # plumbum 1.8 tells commands apart by the names of their classes.
    Config.subcommand(_name, type(_name, (Default,), {"__doc__": Default.__doc__}))
Config.subcommand("explain", "nvidia_runtime.cli.config.explain.Explain")
