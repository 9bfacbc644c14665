# SPDX-License-Identifier: Apache-2.0
"""What every engine can do with a container, as the tests ask for it.

`gpus` is the value of NVIDIA_VISIBLE_DEVICES, unset when None; `debug` picks the runtime whose
settings name a log file. Containers have CAP_MKNOD, so that only the device cgroup refuses them.
"""

from __future__ import annotations

from subprocess import CompletedProcess
from typing import Protocol

from .machine import Runtime

# The first process of a container gets no default signal handlers, so it sets its own.
TERMINATED = 3
FOREVER = ("sh", "-c", f"trap 'exit {TERMINATED}' TERM; touch /tmp/ready; sleep 1000 & wait")


class Container(Protocol):
    """A container that runs until it is told to end."""

    @property
    def id(self) -> str:
        """Its id, as runtimes know it."""

    def exec(self, *command: str) -> CompletedProcess[str]:
        """Run a command in the container."""

    def stop(self) -> int:
        """Ask the container to end; return its exit code."""

    def kill(self) -> int:
        """End the container; return its exit code."""

    def remove(self) -> None:
        """Remove the ended container."""


class Engine(Protocol):
    """An engine with our runtime in its path."""

    runtime: Runtime
    debug_runtime: Runtime

    def run(self, *command: str, gpus: str | None, debug: bool = False) -> CompletedProcess[str]:
        """Run a container to its end and remove it."""

    def start(self, *, gpus: str | None) -> Container:
        """Start a container that stays."""

    def containers(self) -> list[str]:
        """List the containers that the engine knows, running or not."""

    def clean(self) -> None:
        """Remove what a failed test left."""
