# SPDX-License-Identifier: Apache-2.0
"""Docker: a daemon of our own, on the tests' containerd."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from . import processes
from .engine import FOREVER
from .machine import Runtime
from .rootfs import IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerContainer:
    """A container of `docker run --detach`."""

    docker: tuple[str, ...]
    id: str

    def exec(self, *command: str) -> CompletedProcess[str]:
        """Run a command in the container."""
        return processes.run([*self.docker, "exec", self.id, *command])

    def stop(self) -> int:
        """Ask the container to end; return its exit code."""
        processes.succeed([*self.docker, "stop", self.id])
        return int(processes.succeed([*self.docker, "wait", self.id]))

    def kill(self) -> int:
        """End the container; return its exit code."""
        processes.succeed([*self.docker, "kill", self.id])
        return int(processes.succeed([*self.docker, "wait", self.id]))

    def remove(self) -> None:
        """Remove the ended container."""
        processes.succeed([*self.docker, "rm", self.id])

    def health(self) -> str:
        """Return what docker thinks of the container: starting, healthy or unhealthy."""
        inspect = [*self.docker, "inspect", "--format", "{{.State.Health.Status}}", self.id]
        return processes.succeed(inspect).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """The client's words, and the runtimes that the daemon knows as nvidia and nvidia-debug."""

    docker: tuple[str, ...]
    runtime: Runtime
    debug_runtime: Runtime

    def run(self, *command: str, gpus: str | None, debug: bool = False) -> CompletedProcess[str]:
        """Run a container to its end and remove it."""
        runtime = "nvidia-debug" if debug else "nvidia"
        return processes.run([*self.run_words(gpus, runtime), "--rm", IMAGE, *command])

    def start(self, *, gpus: str | None, options: Sequence[str] = ()) -> DockerContainer:
        """Start a container that stays."""
        words = [*self.run_words(gpus, "nvidia"), *options, "--detach", IMAGE, *FOREVER]
        return DockerContainer(docker=self.docker, id=processes.succeed(words).strip())

    def run_words(self, gpus: str | None, runtime: str) -> tuple[str, ...]:
        """Return the words of `docker run` that all containers share."""
        asked = () if gpus is None else ("--env", f"NVIDIA_VISIBLE_DEVICES={gpus}")
        return (
            *self.docker, "run", "--network", "none", "--cap-add", "MKNOD", "--runtime", runtime,
            *asked,
        )  # fmt: skip

    def containers(self) -> list[str]:
        """List the containers that the engine knows, running or not."""
        return processes.succeed([*self.docker, "ps", "--all", "--quiet"]).split()

    def clean(self) -> None:
        """Remove what a failed test left."""
        for container in self.containers():
            processes.run([*self.docker, "rm", "--force", container])


@contextmanager
def daemon(
    folder: Path,
    *,
    containerd: Path,
    group: str,
    runtimes: Mapping[str, Path],
    env: Mapping[str, str],
) -> Iterator[tuple[str, ...]]:
    """Keep dockerd running; yield the words with which its client begins."""
    config = {
        **settings(folder, containerd=containerd, group=group),
        "runtimes": {name: {"path": os.fspath(path)} for name, path in runtimes.items()},
    }
    folder.mkdir()
    file = folder / "daemon.json"
    file.write_text(json.dumps(config))
    with daemon_on(file, env=env) as client:
        yield client


def settings(folder: Path, *, containerd: Path, group: str) -> dict[str, Any]:
    """Return the daemon.json of a daemon that keeps to its folder."""
    return {
        "data-root": f"{folder}/data",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/pid",
        "hosts": [f"unix://{folder}/d.sock"],
        "containerd": os.fspath(containerd),
        "cgroup-parent": f"/{group}",
        "storage-driver": "vfs",  # the one that works on every file system
        "bridge": "none",
        "iptables": False,
        "ip-forward": False,
        "userland-proxy": False,
    }


@contextmanager
def daemon_on(
    file: Path, *, env: Mapping[str, str], flags: Sequence[str] = (), enter: Sequence[str] = ()
) -> Iterator[tuple[str, ...]]:
    """Keep dockerd running on a daemon.json whose socket is beside it; yield its client's words.

    ``enter`` are words that go before it, as ``cgroups.enter`` gives them.
    """
    folder = file.parent
    client = client_of(folder)
    with processes.daemon(
        [*enter, "dockerd", "--config-file", os.fspath(file), *flags],
        log=folder / "log",
        env=env,
        is_ready=lambda: processes.run([*client, "version"]).returncode == 0,
    ):
        yield client


def client_of(folder: Path) -> tuple[str, ...]:
    """Return the words with which the client of a folder's daemon begins."""
    address = f"unix://{folder}/d.sock"
    return ("docker", "--config", os.fspath(folder / "client"), "--host", address)
