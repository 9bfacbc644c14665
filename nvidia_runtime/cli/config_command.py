# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config: print config.toml, change it, write a first one.  Ring: elsewhere."""

from __future__ import annotations

import os

from plumbum import cli

from nvidia_runtime.cli.command import Command, Group
from nvidia_runtime.cli.config_file import FLAGS, file_path
from nvidia_runtime.errors import NvidiaRuntimeError

SEPARATOR = ":"


class Config(Group):
    """Print config.toml, or change it; what it does not set is shown as comments."""

    file = cli.SwitchAttr(
        FLAGS, str, "", help="the config.toml; by default the one the runtime reads"
    )
    settings = cli.SwitchAttr(
        ["--set"], str, list=True, help="KEY=VALUE, or KEY for true; may be repeated"
    )
    separator = cli.SwitchAttr(
        ["--set-list-separator"],
        str,
        SEPARATOR,
        help="what separates the elements of a list in --set; without it a comma does too",
    )
    in_place = cli.Flag(["-i", "--in-place"], help="change the file itself")
    output = cli.SwitchAttr(["--output", "-o"], str, "", help="the file to write; else stdout")

    def main(self) -> int:
        """Print the file with its changes, or write it."""
        if self.nested_command:
            return 0
        if self.in_place and self.output:
            what = "--in-place and --output are two places to write to"
            raise NvidiaRuntimeError(what, hint="leave one of them out")
        if not self.separator:
            raise NvidiaRuntimeError("--set-list-separator must not be empty")
        from nvidia_runtime.cli import config_edit  # TOML, which the help of nvidia-ctk spares

        path = file_path(self.file, self)
        edit = config_edit.change(path, self.settings, self.separator)
        if not edit.was_there:
            self.debug(f"there is no {path}: defaults")
        for warning in edit.warnings:
            self.warn(warning)
        target = path if self.in_place else self.output
        if not target:
            print(edit.text, end="")
        elif not (self.in_place and edit.was_there and edit.text == edit.source):
            config_edit.save(target, edit.text)
        return 0


class Default(Command):
    """Print the config.toml to begin with."""

    output = cli.SwitchAttr(["--output", "-o"], str, "", help="the file to write; else stdout")

    def main(self) -> int:
        """Print it, or write it into a folder that exists."""
        from nvidia_runtime.cli import config_edit  # as above

        text = config_edit.default()
        folder = os.path.dirname(self.output) or "."
        if not self.output:
            print(text, end="")
        elif not os.path.isdir(folder):
            raise NvidiaRuntimeError("there is no such folder", where=folder)
        else:
            config_edit.save(self.output, text)
        return 0


for _name in ("default", "create-default", "generate-default"):
    # plumbum 1.8 tells commands apart by the names of their classes.
    Config.subcommand(_name, type(_name, (Default,), {"__doc__": Default.__doc__}))
Config.subcommand("explain", "nvidia_runtime.cli.config_explain.Explain")
