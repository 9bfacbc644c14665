# SPDX-License-Identifier: Apache-2.0
"""containerd: a daemon of our own and `ctr`, whose `--runc-binary` is the config's BinaryName."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import waiting

from . import installed, processes
from .engine import FOREVER
from .machine import Runtime
from .rootfs import IMAGE

EXIT_CODE = re.compile(r"non-zero exit code (\d+)")  # a warning of `ctr tasks delete`
SNAPSHOTTER = "native"  # the one that works on every file system
# Left out: what writes to /opt and /etc, and what needs a network.
CONFIG = """\
version = 2
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
]
"""
# When a process ends, ctr 1.6 closes its pipes before it has read them empty: output of one that
# ends at once can be lost.
LINGER = '"$@"; code=$?; sleep 0.3; exit "$code"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdContainer:
    """A container of `ctr run --detach`; its task is what runs."""

    ctr: tuple[str, ...]
    id: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def exec(self, *command: str) -> CompletedProcess[str]:
        """Run a command in the container."""
        words = [*self.ctr, "tasks", "exec", "--exec-id", f"exec-{next(self.numbers)}", self.id]
        return processes.run([*words, "sh", "-c", LINGER, "sh", *command])

    def stop(self) -> int:
        """Ask the container to end; return its exit code."""
        return self.signal("SIGTERM")

    def kill(self) -> int:
        """End the container; return its exit code."""
        return self.signal("SIGKILL")

    def signal(self, name: str) -> int:
        """End the task by a signal and remove it, which tells its exit code."""
        processes.succeed([*self.ctr, "tasks", "kill", "--signal", name, self.id])
        waiting.eventually(lambda: self.status() == "STOPPED", f"{self.id} has stopped")
        done = processes.run([*self.ctr, "tasks", "delete", self.id])
        assert done.returncode == 0, done.stderr
        code = EXIT_CODE.search(done.stderr)
        return int(code[1]) if code else 0

    def status(self) -> str:
        """Return the task's status in containerd's words."""
        rows = [row.split() for row in processes.succeed([*self.ctr, "tasks", "ls"]).splitlines()]
        return {row[0]: row[-1] for row in rows}.get(self.id, "")

    def remove(self) -> None:
        """Remove the ended container."""
        processes.succeed([*self.ctr, "containers", "delete", self.id])


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerd:
    """The client's words, and our runtimes."""

    ctr: tuple[str, ...]
    runc_root: Path
    group: str
    runtime: Runtime
    debug_runtime: Runtime
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, *command: str, gpus: str | None, debug: bool = False) -> CompletedProcess[str]:
        """Run a container to its end and remove it."""
        runtime = self.debug_runtime if debug else self.runtime
        name = self.name()
        return processes.run([*self.run_words(gpus, runtime, name), "--rm", IMAGE, name, *command])

    def start(self, *, gpus: str | None) -> ContainerdContainer:
        """Start a container that stays."""
        name = self.name()
        # Without --null-io, the container's output would be pipes that nobody reads.
        words = self.run_words(gpus, self.runtime, name)
        processes.succeed([*words, "--detach", "--null-io", IMAGE, name, *FOREVER])
        return ContainerdContainer(ctr=self.ctr, id=name)

    def name(self) -> str:
        """Return a new container's id."""
        return f"c{next(self.numbers)}"

    def run_words(self, gpus: str | None, runtime: Runtime, name: str) -> tuple[str, ...]:
        """Return the words of `ctr run` that all containers share."""
        asked = () if gpus is None else ("--env", f"NVIDIA_VISIBLE_DEVICES={gpus}")
        return (
            *self.ctr, "run", "--snapshotter", SNAPSHOTTER, "--cgroup", f"/{self.group}/{name}",
            "--runc-root", os.fspath(self.runc_root), "--runc-binary", os.fspath(runtime.path),
            *asked,
        )  # fmt: skip

    def containers(self) -> list[str]:
        """List the containers that the engine knows, running or not."""
        return processes.succeed([*self.ctr, "containers", "ls", "--quiet"]).split()

    def clean(self) -> None:
        """Remove what a failed test left."""
        for container in self.containers():
            processes.run([*self.ctr, "tasks", "delete", "--force", container])
            processes.run([*self.ctr, "containers", "delete", container])


def importing() -> tuple[str, ...]:
    """Return the words of `ctr` that import an image; containerd 2 would unpack by its settings."""
    local = ("--local",) if installed.version_of("containerd") >= (2,) else ()
    return ("images", "import", *local, "--snapshotter", SNAPSHOTTER)


@contextmanager
def daemon(folder: Path, *, env: Mapping[str, str]) -> Iterator[Path]:
    """Keep containerd running; yield its socket."""
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(CONFIG)
    with daemon_on(file, env=env) as socket:
        yield socket


@contextmanager
def daemon_on(file: Path, *, env: Mapping[str, str], enter: Sequence[str] = ()) -> Iterator[Path]:
    """Keep containerd running on a configuration, with its state beside that; yield its socket.

    ``enter`` are words that go before it, as ``cgroups.enter`` gives them.
    """
    folder, socket = file.parent, file.parent / "c.sock"
    with processes.daemon(
        [
            *enter, "containerd", "--config", os.fspath(file), "--address", os.fspath(socket),
            "--root", os.fspath(folder / "root"), "--state", os.fspath(folder / "state"),
        ],
        log=folder / "log",
        env=env,
        is_ready=lambda: processes.run(
            ["ctr", "--address", os.fspath(socket), "--connect-timeout", "1s", "version"]
        ).returncode == 0,
    ):  # fmt: skip
        yield socket
