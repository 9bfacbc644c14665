# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config: print config.toml, change it, or write a new one."""

from __future__ import annotations

import os
import tomllib

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command, Configured
from nvidia_runtime.cli.tables import config as tables
from nvidia_runtime.errors import NvidiaRuntimeError


class Config(Configured):
    """nvidia-ctk config."""

    table = tables.CONFIG
    assignments: list[str]
    separator: str
    in_place: bool
    output: str
    format: str

    def main(self) -> int:
        """Print the file with its changes, or write it."""
        if self.nested_command:
            return 0
        if self.in_place and self.output:
            what = "--in-place and --output cannot be used together"
            raise NvidiaRuntimeError(what, hint="leave out one of them")
        _check_form(self.format, is_written=bool(self.in_place or self.output))
        if not self.separator:
            raise NvidiaRuntimeError("--set-list-separator must not be empty")
        from nvidia_runtime.cli.config import revision  # all that edits TOML

        path = self.config_path(must_exist=False)
        is_own = self.in_place or os.path.realpath(self.output or os.devnull) == os.path.realpath(
            path
        )
        make = revision.change if is_own else revision.revise
        revised = make(path, self.assignments, self.separator)
        for warning in revised.warnings:
            self.warn(warning)
        if self.format == "json":
            screen.print_json(tomllib.loads(revised.after))
        elif self.output and not is_own:
            revision.save(self.output, revised.after)
        elif not is_own:
            print(revised.after, end="")
        return 0


class Default(Command):
    """nvidia-ctk config default."""

    table = tables.DEFAULT
    output: str
    format: str

    def main(self) -> int:
        """Print it, or write it into an existing folder."""
        from nvidia_runtime.cli.config import revision  # as above
        from nvidia_runtime.compile import toml_text

        _check_form(self.format, is_written=bool(self.output))
        folder = os.path.dirname(self.output) or "."
        if self.format == "json":
            screen.print_json(tomllib.loads(toml_text.default()))
        elif not self.output:
            print(toml_text.default(), end="")
        elif not os.path.isdir(folder):
            raise NvidiaRuntimeError("there is no such folder", where=folder)
        else:
            revision.save(self.output, toml_text.default())
        return 0


def _check_form(form: str, *, is_written: bool) -> None:
    if form == "json" and is_written:
        what = "--format=json is for stdout: a config.toml is TOML"
        raise NvidiaRuntimeError(what, hint="leave out --format, or --in-place and --output")
