# SPDX-License-Identifier: Apache-2.0
"""Podman: no daemon, storage and state in a folder of our own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

from . import processes, rootfs
from .engine import FOREVER
from .machine import Runtime

# The default limits are podman's, which needs CAP_SYS_RESOURCE for its own; locks in files leave
# nothing in /dev/shm.
CONFIG = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
"""


# podman 5 has a word on control groups of version 1 for each call.
QUIET = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "yes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodmanContainer:
    """A container of `podman run --detach`."""

    podman: tuple[str, ...]
    env: Mapping[str, str]
    id: str

    def exec(self, *command: str) -> CompletedProcess[str]:
        """Run a command in the container."""
        return processes.run([*self.podman, "exec", self.id, *command], env=self.env)

    def stop(self) -> int:
        """Ask the container to end; return its exit code."""
        processes.succeed([*self.podman, "stop", self.id], env=self.env)
        return int(processes.succeed([*self.podman, "wait", self.id], env=self.env))

    def kill(self) -> int:
        """End the container; return its exit code."""
        processes.succeed([*self.podman, "kill", self.id], env=self.env)
        return int(processes.succeed([*self.podman, "wait", self.id], env=self.env))

    def remove(self) -> None:
        """Remove the ended container."""
        processes.succeed([*self.podman, "rm", self.id], env=self.env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Podman:
    """Podman's folder, and our runtimes; ``enter`` are words that go before podman."""

    folder: Path
    busybox: str
    group: str
    runtime: Runtime
    debug_runtime: Runtime
    enter: tuple[str, ...] = ()
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, *command: str, gpus: str | None, debug: bool = False) -> CompletedProcess[str]:
        """Run a container to its end and remove it."""
        runtime = self.debug_runtime if debug else self.runtime
        words = [*self.podman(runtime), "run", *self.run_words(gpus), "--rm"]
        return processes.run([*words, "--rootfs", self.root(), *command], env=self.env)

    def start(self, *, gpus: str | None) -> PodmanContainer:
        """Start a container that stays."""
        podman = self.podman(self.runtime)
        words = [*podman, "run", *self.run_words(gpus), "--detach", "--rootfs", self.root()]
        name = processes.succeed([*words, *FOREVER], env=self.env).strip()
        return PodmanContainer(podman=podman, env=self.env, id=name)

    def podman(self, runtime: Runtime) -> tuple[str, ...]:
        """Return the words with which each call of podman begins."""
        return (
            *self.enter, "podman", "--root", os.fspath(self.folder / "root"), "--runroot",
            os.fspath(self.folder / "run"), "--tmpdir", os.fspath(self.folder / "tmp"),
            "--storage-driver", "vfs", "--runtime", os.fspath(runtime.path),
        )  # fmt: skip

    @property
    def env(self) -> dict[str, str]:
        """The environment that podman gets."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.fspath(self.folder),
            "CONTAINERS_CONF": os.fspath(self.folder / "containers.conf"),
            **QUIET,
        }

    def run_words(self, gpus: str | None) -> tuple[str, ...]:
        """Return the options of `podman run` that all containers share."""
        asked = () if gpus is None else ("--env", f"NVIDIA_VISIBLE_DEVICES={gpus}")
        return (
            "--network", "none", "--cap-add", "MKNOD", "--cgroup-parent", f"/{self.group}", *asked,
        )  # fmt: skip

    def root(self) -> str:
        """Make the root file system of a new container."""
        root = self.folder / f"rootfs-{next(self.numbers)}"
        rootfs.build(root, self.busybox)
        return os.fspath(root)

    def containers(self) -> list[str]:
        """List the containers that the engine knows, running or not."""
        words = [*self.podman(self.runtime), "ps", "--all", "--quiet"]
        return processes.succeed(words, env=self.env).split()

    def clean(self) -> None:
        """Remove what a failed test left."""
        for container in self.containers():
            processes.run([*self.podman(self.runtime), "rm", "--force", container], env=self.env)
