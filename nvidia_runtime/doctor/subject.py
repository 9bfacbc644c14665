# SPDX-License-Identifier: Apache-2.0
"""What is examined: this machine, with the settings that hold here."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass

from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import platform
from nvidia_runtime.store.snapshot import DRIVER_ROOT, MODE, SPEC_DIRS


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A machine, this one, and how our programs are set up on it.

    ``path`` is config.toml.  ``settings`` are the defaults where it cannot be read, for which the
    reason is ``settings_error``.
    ``program`` is the nvidia-ctk that people would call.
    """

    path: str
    settings: config.Settings
    settings_error: NvidiaRuntimeError | None
    is_root: bool
    is_debugging: bool
    program: str

    @property
    def driver_root(self) -> str:
        """The root of the driver's installation, "" for this machine's own."""
        return str(self.settings[DRIVER_ROOT]).rstrip("/")

    @property
    def spec_dirs(self) -> list[str]:
        """The folders of CDI specs, the most important last."""
        return list(self.settings[SPEC_DIRS])

    @property
    def mode(self) -> str:
        """The mode of creates: that of the settings, or what ``auto`` comes to, "" if unknown."""
        mode = str(self.settings[MODE])
        return mode if mode != "auto" else platform.mode(self.driver_root)


def of(path: str, *, is_debugging: bool = False) -> Subject:
    """Return this machine with the settings of a config.toml."""
    try:
        settings, problem = config.load(path)[0], None
    except NvidiaRuntimeError as error:
        settings, problem = config.defaults(), error
    return Subject(
        path=path,
        settings=settings,
        settings_error=problem,
        is_root=os.geteuid() == 0,
        is_debugging=is_debugging,
        program=shutil.which("nvidia-ctk") or os.path.abspath(sys.argv[0]),
    )
