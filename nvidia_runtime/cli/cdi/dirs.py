# SPDX-License-Identifier: Apache-2.0
"""The flag ``--spec-dir``, and the spec dirs without it."""

from __future__ import annotations

from nvidia_runtime.cli.command import Configured
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store.snapshot import SPEC_DIRS


class WithSpecDirs(Configured):
    """A command about the CDI specs of this host."""

    given_dirs: list[str]

    def spec_dirs(self) -> list[str]:
        """Return the spec dirs of the command line, the environment, or config.toml."""
        dirs = [part for value in self.given_dirs for part in value.split(",") if part]
        dirs = dirs or list(self.settings()[SPEC_DIRS])
        self.debug(f"CDI specs from {', '.join(dirs)}")
        return dirs

    def settings(self) -> config.Settings:
        """Read config.toml; if it is invalid, warn and return the defaults."""
        try:
            values, warnings = config.load(self.config_path())
        except NvidiaRuntimeError as error:
            self.warn(f"{error}; going on with the default settings")
            return config.defaults()
        for warning in warnings:
            self.warn(warning)
        return values
