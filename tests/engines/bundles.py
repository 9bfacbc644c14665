# SPDX-License-Identifier: Apache-2.0
"""runc and crun themselves: bundles of our own, and the commands that an engine would give.

We stand where containerd-shim stands: a subreaper, so that the container's first process, whose
parent `create` ends, becomes our child and its exit code ours to read.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import waiting

from . import processes, rootfs
from .engine import FOREVER
from .machine import Runtime

PR_SET_CHILD_SUBREAPER = 36
CAPABILITIES = ["CAP_KILL", "CAP_MKNOD"]
NAMESPACES = ("pid", "ipc", "uts", "mount", "network")
MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
]


def spec(command: tuple[str, ...], *, gpus: str | None, group: str) -> dict[str, Any]:
    """Write what an engine would: no device but the runtime's own, until we add some."""
    asked = [] if gpus is None else [f"NVIDIA_VISIBLE_DEVICES={gpus}"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(command),
            "env": ["PATH=/bin", *asked],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": "rootfs"},
        "mounts": MOUNTS,
        "linux": {
            "cgroupsPath": f"/{group}",
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


@contextmanager
def subreaper() -> Iterator[None]:
    """Adopt the children of processes that end meanwhile, see prctl(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def await_exit(pid: int) -> int:
    """Reap a container's first process; return its exit code as a shell and the engines count."""
    handle = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([handle], [], [], waiting.PATIENCE)
    finally:
        os.close(handle)
    assert ended, f"process {pid} does not end"
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContainer:
    """A container of `create` and `start`."""

    words: tuple[str, ...]
    id: str
    pid: int

    def exec(self, *command: str) -> CompletedProcess[str]:
        """Run a command in the container."""
        return processes.run([*self.words, "exec", self.id, *command])

    def stop(self) -> int:
        """Ask the container to end; return its exit code."""
        processes.succeed([*self.words, "kill", self.id, "TERM"])
        return await_exit(self.pid)

    def kill(self) -> int:
        """End the container; return its exit code."""
        processes.succeed([*self.words, "kill", self.id, "KILL"])
        return await_exit(self.pid)

    def remove(self) -> None:
        """Remove the ended container."""
        processes.succeed([*self.words, "delete", self.id])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundles:
    """A low-level runtime under ours, in one view of the control groups."""

    folder: Path
    busybox: str
    enter: tuple[str, ...]
    group: str
    runtime: Runtime
    debug_runtime: Runtime
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, *command: str, gpus: str | None, debug: bool = False) -> CompletedProcess[str]:
        """Run a container to its end and remove it."""
        runtime = self.debug_runtime if debug else self.runtime
        words = self.words(runtime)
        bundle = self.bundle(command, gpus)
        created = self.create(bundle, words)
        if created != 0:
            return CompletedProcess(words, created, "", (bundle / "stderr").read_text())
        container = self.begin(bundle, words)
        code = await_exit(container.pid)
        container.remove()
        said, errors = (bundle / "stdout").read_text(), (bundle / "stderr").read_text()
        return CompletedProcess(words, code, said, errors)

    def start(self, *, gpus: str | None) -> BundleContainer:
        """Start a container that stays."""
        words = self.words(self.runtime)
        bundle = self.bundle(FOREVER, gpus)
        created = self.create(bundle, words)
        assert created == 0, (bundle / "stderr").read_text()
        return self.begin(bundle, words)

    def run_by(self, program: str, *command: str, gpus: str | None) -> CompletedProcess[str]:
        """Run a container by a program's own `run`, which is create and start in one."""
        bundle = self.bundle(command, gpus)
        where = ("--root", os.fspath(self.state()), "run", "--bundle", os.fspath(bundle))
        return processes.run([*self.enter, program, *where, bundle.name])

    def words(self, runtime: Runtime) -> tuple[str, ...]:
        """Return the words with which each call of the runtime begins."""
        return (*self.enter, os.fspath(runtime.path), "--root", os.fspath(self.state()))

    def state(self) -> Path:
        """Return the folder in which the low-level runtime keeps its containers."""
        return self.folder / "state"

    def bundle(self, command: tuple[str, ...], gpus: str | None) -> Path:
        """Make a bundle; its name is the container's id."""
        bundle = self.folder / f"{self.folder.name}-{next(self.numbers)}"
        rootfs.build(bundle / "rootfs", self.busybox)
        document = spec(command, gpus=gpus, group=f"{self.group}/{bundle.name}")
        (bundle / "config.json").write_text(json.dumps(document))
        return bundle

    def create(self, bundle: Path, words: tuple[str, ...]) -> int:
        """Create a container that writes to files of its bundle; return the exit code."""
        where = ("--bundle", os.fspath(bundle), "--pid-file", os.fspath(bundle / "pid"))
        out, err = bundle / "stdout", bundle / "stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr, subreaper():
            done = subprocess.run(
                [*words, "create", *where, bundle.name],
                input=b"",  # not /dev/null: see processes.run
                stdout=stdout,
                stderr=stderr,
                timeout=waiting.PATIENCE,
                check=False,
            )
        return done.returncode

    def begin(self, bundle: Path, words: tuple[str, ...]) -> BundleContainer:
        """Start a created container."""
        processes.succeed([*words, "start", bundle.name])
        pid = int((bundle / "pid").read_text())
        return BundleContainer(words=words, id=bundle.name, pid=pid)

    def containers(self) -> list[str]:
        """List the containers that the engine knows, running or not."""
        names = sorted(os.listdir(self.state())) if self.state().exists() else []
        return [name for name in names if not name.startswith(".")]  # crun's cache

    def clean(self) -> None:
        """Remove what a failed test left."""
        for container in self.containers():
            pid = int((self.folder / container / "pid").read_text())
            processes.run([*self.words(self.runtime), "delete", "--force", container])
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue  # a test that failed late has reaped it
