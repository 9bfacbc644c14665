# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi watch: a service that keeps the CDI spec of this machine up to date."""

from __future__ import annotations

import gc
import os

from nvidia_runtime.cli import ourselves
from nvidia_runtime.cli.command import Command, check_seconds
from nvidia_runtime.cli.tables import cdi as tables
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.watch import service, signs, uevents


class Watch(Command):
    """nvidia-ctk cdi watch."""

    table = tables.WATCH
    driver_root: str
    interval: float
    settle: float
    patience: float

    def main(self, *words: str) -> int:
        """Watch until SIGTERM."""
        gc.enable()  # unlike other commands it lives for months
        for flag in ("interval", "settle", "patience"):
            check_seconds(f"--{flag}", getattr(self, flag))
        timing = service.Timing(
            interval=self.interval,
            quiet=self.settle,
            longest=10 * self.settle,
            patience=self.patience,
        )
        lookout = signs.Lookout(os.path.abspath(self.driver_root or "/"))
        watching = service.Service(self._command(words), lookout, timing, self.tell, self.debug)
        listener = self._listener()
        try:
            watching.run(listener)
        finally:
            if listener:
                listener.close()
        return 0

    def _command(self, words: tuple[str, ...]) -> list[str]:
        """Return the command line of a refresh, with the flags of this call."""
        root = [f"--driver-root={self.driver_root}"] if self.driver_root else []
        return [*ourselves.command(self.root_app), "cdi", "refresh", "--json", *root, *words]

    def _listener(self) -> uevents.Listener | None:
        try:
            return uevents.Listener()
        except NvidiaRuntimeError as error:
            self.warn(f"{error}: changes are noticed every {self.interval:g} s only")
            return None
