# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk hook: nvidia-cdi-hook under the name in older CDI specs."""

from __future__ import annotations

from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import containers as tables
from nvidia_runtime.hooks import cdi_hook


class Hook(Command):
    """nvidia-ctk hook."""

    table = tables.HOOK

    PROGNAME = "nvidia-ctk hook"

    def main(self, *words: str) -> int:
        """Pass all words to nvidia-cdi-hook, which has its own grammar."""
        switches = [
            flag
            for flag, name in (("--debug", "debugging"), ("--quiet", "quiet"))
            if getattr(self.root_app, name, False)
        ]
        return cdi_hook.run([*switches, *words], self.PROGNAME)
