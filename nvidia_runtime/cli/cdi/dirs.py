# SPDX-License-Identifier: Apache-2.0
"""The option ``--spec-dir``, and which spec dirs are meant without it.  Ring: elsewhere."""

from __future__ import annotations

import os

from plumbum import cli

from nvidia_runtime.cli.command import Configured
from nvidia_runtime.compile import config, snapshot
from nvidia_runtime.errors import NvidiaRuntimeError

VARIABLE = "NVIDIA_CTK_CDI_SPEC_DIRS"


class WithSpecDirs(Configured):
    """A command about the CDI specs of this host."""

    given_dirs = cli.SwitchAttr(
        ["--spec-dir"],
        str,
        list=True,
        default=[],
        help=f"a folder of CDI specs, may be a list with commas; else config.toml's [${VARIABLE}]",
    )

    def spec_dirs(self) -> list[str]:
        """Return the dirs of the command line, of the environment, or of config.toml."""
        given = self.given_dirs or [os.environ.get(VARIABLE, "")]
        dirs = [part for value in given for part in value.split(",") if part]
        dirs = dirs or list(self.settings()[snapshot.SPEC_DIRS])
        self.debug(f"CDI specs from {', '.join(dirs)}")
        return dirs

    def settings(self) -> config.Settings:
        """Read config.toml; a broken one is a warning here, and the defaults hold."""
        try:
            values, warnings = config.load(self.config_path())
        except NvidiaRuntimeError as error:
            self.warn(f"{error}; going on with the default settings")
            return config.defaults()
        for warning in warnings:
            self.warn(warning)
        return values
