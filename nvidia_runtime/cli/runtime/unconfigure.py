# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime unconfigure: take our programs out of an engine's configuration."""

from __future__ import annotations

from nvidia_runtime.cli.engine_flags import EngineCommand
from nvidia_runtime.cli.tables import runtime as tables
from nvidia_runtime.engines import apply, undo, write


class Unconfigure(EngineCommand):
    """nvidia-ctk runtime unconfigure."""

    table = tables.UNCONFIGURE

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
