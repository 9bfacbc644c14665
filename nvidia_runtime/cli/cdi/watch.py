# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi watch: a small service that keeps the CDI spec of this machine up to date."""

from __future__ import annotations

import os
import sys
from typing import Any

from plumbum import cli

from nvidia_runtime.cli import environment_file
from nvidia_runtime.cli.command import Command
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.watch import service, signs, uevents

PROGRAM = "from nvidia_runtime.cli import main; main()"
DEFAULTS = service.Timing()


class Watch(Command):
    """Refresh the machine's CDI spec whenever its GPUs change, until SIGTERM; SIGHUP: now.

    What follows -- is given to 'nvidia-ctk cdi refresh'.
    """

    driver_root = cli.SwitchAttr(
        "--driver-root",
        str,
        "",
        envname="NVIDIA_CTK_DRIVER_ROOT",
        help="where the driver is installed; for 'cdi refresh', too",
    )
    interval = cli.SwitchAttr(
        "--interval",
        float,
        DEFAULTS.interval,
        help="seconds between two looks at what sends no uevent: MIG, IMEX, sockets, libraries",
    )
    settle = cli.SwitchAttr(
        "--settle",
        float,
        DEFAULTS.quiet,
        help="seconds without a change before a refresh; ten times as long at most",
    )
    patience = cli.SwitchAttr(
        "--patience", float, DEFAULTS.patience, help="seconds that one refresh may take"
    )

    # Read by environment_file, before the others; here for --help.  The refreshes inherit them.
    _environment = cli.SwitchAttr(
        [environment_file.FLAG], str, environment_file.PATH, help="settings, as the units have them"
    )

    def _parse_args(self, argv: list[str]) -> Any:
        return super()._parse_args(environment_file.apply(argv))

    USAGE = "    {progname} [SWITCHES] [-- SWITCHES OF REFRESH]\n"

    def main(self, *words: str) -> int:
        """Watch until told to stop."""
        for flag in ("interval", "settle", "patience"):
            if not 0.01 <= getattr(self, flag) <= 86400:
                raise NvidiaRuntimeError(f"--{flag} must be from 0.01 to 86400 seconds")
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
        """Return the words that refresh, as this program was called."""
        root_app = self.root_app
        config = str(getattr(root_app, "config", ""))
        asked = [
            *(["-I"] if sys.flags.isolated else []),
            *("-c", PROGRAM),
            *(["--debug"] if getattr(root_app, "debugging", False) else []),
            *(["--quiet"] if getattr(root_app, "quiet", False) else []),
            *([f"--config={config}"] if config else []),
        ]
        root = [f"--driver-root={self.driver_root}"] if self.driver_root else []
        return [sys.executable, *asked, "cdi", "refresh", "--json", *root, *words]

    def _listener(self) -> uevents.Listener | None:
        try:
            return uevents.Listener()
        except NvidiaRuntimeError as error:
            self.warn(f"{error}: only what is looked at every {self.interval:g} s is noticed")
            return None
