# SPDX-License-Identifier: Apache-2.0
"""A simulated machine that stays, and commands that run on it.

A process holds its mount namespace; what is to be there enters that.  The folder of scratch files
is the host's own, so that a test sees what an engine on the machine leaves in it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import simulated
import waiting
from cli import ctk
from engines import processes
from engines.machine import Runtime

NAME = "nvidia-container-runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The machine's name and holder, the scratch folder, and the runtime under test."""

    machine: str
    pid: int
    scratch: Path
    shim: Path

    @property
    def enter(self) -> tuple[str, ...]:
        """The words that go before a command to run it on the machine."""
        return ("nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--")

    def run(self, *words: str | Path) -> CompletedProcess[str]:
        """Run a program on the machine."""
        return processes.run([*self.enter, *map(str, words)])

    def succeed(self, *words: str | Path) -> str:
        """Run a program on the machine that must exit with 0; return its standard output."""
        return processes.succeed([*self.enter, *map(str, words)])

    def path(self, path: str) -> Path:
        """Return a file of the machine as this process reaches it; links are the machine's."""
        return Path(f"/proc/{self.pid}/root/{path.lstrip('/')}")

    def runtime(self, name: str, low_level: str, **settings: str) -> Runtime:
        """Make our runtime with settings of its own: an executable that brings them along."""
        folder = self.scratch / "runtimes" / name
        folder.mkdir(parents=True)
        lines = [f"[{NAME}]", f"runtimes = [{json.dumps(low_level)}]"]
        lines += [f"{key.replace('_', '-')} = {json.dumps(it)}" for key, it in settings.items()]
        (folder / "config.toml").write_text("".join(f"{line}\n" for line in lines))
        config = shlex.quote(os.fspath(folder / "config.toml"))
        script = folder / NAME
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$*" >>{shlex.quote(os.fspath(folder / "calls"))}\n'
            f"export NVIDIA_CTK_CONFIG_FILE_PATH={config}\n"
            f'exec {shlex.quote(os.fspath(self.shim))} "$@"\n'
        )
        script.chmod(0o755)
        return Runtime(path=script, calls=folder / "calls", log=folder / "debug.log")

    def runtime_of_specs(self, name: str, low_level: str, folder: Path) -> Runtime:
        """Make our runtime for the static CDI specs of a folder."""
        runtime = self.runtime(name, low_level, mode="cdi")
        with (runtime.path.parent / "config.toml").open("a") as file:
            file.write(f"[{NAME}.modes.cdi]\nspec-dirs = [{json.dumps(os.fspath(folder))}]\n")
        return runtime

    def explain(self, container: str) -> str:
        """Ask nvidia-ctk, on the machine, what a container got."""
        path = f"PYTHONPATH={simulated.TREE}"
        words = ("env", path, sys.executable, "-c", ctk.PROGRAM, "explain", container)
        return self.succeed(*words)

    def record(self, container: str) -> dict[str, Any]:
        """Read the record that the runtime left of a container's injection."""
        document: dict[str, Any] = json.loads(
            self.path(f"run/{NAME}/containers/{container}.json").read_text()
        )
        return document


@contextmanager
def hold(machine: str, scratch: Path, shim: Path) -> Iterator[Site]:
    """Keep a simulated machine."""
    scratch.mkdir()
    holder = subprocess.Popen(
        simulated.words(machine, ["sleep", "infinity"], real=[os.fspath(scratch)]),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
    )
    site = Site(machine=machine, pid=holder.pid, scratch=scratch, shim=shim)
    try:
        waiting.becomes(holder, "sleep", f"{machine} is there")
        yield site
    finally:
        holder.kill()
        holder.communicate()
