# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime unconfigure: take our programs out of an engine's configuration."""

from __future__ import annotations

from plumbum import cli

from nvidia_runtime.cli.engine_flags import EngineCommand
from nvidia_runtime.engines import apply, undo, write


class Unconfigure(EngineCommand):
    """Make an engine's configuration what it was: values, their absence, files that were made.

    Without a record of that the runtime is removed, and runc is the default again.
    """

    name = cli.SwitchAttr(
        ["--nvidia-runtime-name"], str, "", help="only this runtime; by default all that were added"
    )

    USAGE = "    {progname} [SWITCHES]\n"

    def main(self, *_words: str) -> int:
        """Change the files, or show the changes."""
        self.check()
        daemon = self.daemon()
        restartable = self.restartable(daemon)
        intent = self.intent(daemon)
        if self.is_dry:
            self.show(undo.plan(self.engine, intent, self.name))
            return 0
        with write.locked(intent.config):
            plan = undo.plan(self.engine, intent, self.name)
            written = apply.unconfigure(self.engine, intent, plan, self.warn, self.name)
        self.report(plan, written, restartable)
        return 0
