# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk hook: nvidia-cdi-hook, as older CDI specs call it.  Ring: elsewhere."""

from __future__ import annotations

from typing import Any

from nvidia_runtime.cli.command import Command
from nvidia_runtime.hooks import cdi_hook


class Hook(Command):
    """Do in a container that is being made what a CDI spec wants; 'hook --help' says what."""

    PROGNAME = "nvidia-ctk hook"

    def main(self, *words: str) -> int:
        """Leave all words to nvidia-cdi-hook, whose grammar is its own."""
        switches = [
            flag
            for flag, name in (("--debug", "debugging"), ("--quiet", "quiet"))
            if getattr(self.root_app, name, False)
        ]
        return cdi_hook.run([*switches, *words], self.PROGNAME)

    def _parse_args(self, argv: list[str]) -> Any:
        return super()._parse_args(["--", *argv])
