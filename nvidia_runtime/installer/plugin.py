# SPDX-License-Identifier: Apache-2.0
"""The plugin for the Node Resource Interface, a process of its own beside the installation."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import wrappers

if TYPE_CHECKING:
    from nvidia_runtime.installer.options import Nri

PAUSE = 2.0
PATIENCE = 10.0


class Plugin:
    """The process, which is started again where it ends."""

    def __init__(self, nri: Nri, tree: str) -> None:
        self.words = [
            *(f"{tree}/{wrappers.CTK}", "nri"),
            f"--nri-plugin-index={nri.index}",
            f"--nri-socket={nri.socket}",
            f"--nri-namespace={nri.namespace}",
            *(f"--nri-management-cdi-device-namespaces={name}" for name in nri.namespaces),
        ]
        self.process: subprocess.Popen[bytes] | None = None
        self.began = 0.0

    def keep(self) -> None:
        """Have it run.  Raises `NvidiaRuntimeError` where there is no such program."""
        if self.process and self.process.poll() is None:
            return
        if self.process and self.process.returncode == UNKNOWN:
            raise NvidiaRuntimeError("this version has no plugin for the NRI")
        if time.monotonic() - self.began < PAUSE:
            return
        self.began = time.monotonic()
        try:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise NvidiaRuntimeError(f"cannot be run: {error.strerror}", self.words[0]) from None

    def end(self) -> None:
        """End it."""
        if not self.process or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# How nvidia-ctk ends that lacks a command.
UNKNOWN = 3
