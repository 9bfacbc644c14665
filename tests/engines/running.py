# SPDX-License-Identifier: Apache-2.0
"""A container that runs, whose device rules are taken away as systemd does it: from outside."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from cli import ctk
from cli.test_json import check

import nvidia_runtime
from nvidia_runtime.linux import bpf, control_groups, device_program
from nvidia_runtime.linux.control_groups import DEVICES, UNIFIED
from nvidia_runtime.linux.device_rules import Rule

from . import processes
from .engine import Container
from .machine import MAJOR

VIEWS = {"runc_v1": DEVICES, "runc_v2": UNIFIED, "crun_v2": UNIFIED}
RULES = [f"c {MAJOR}:0 rwm", f"c {MAJOR}:255 rwm"]
PATHS = ["/dev/nvidia0", "/dev/nvidiactl"]


def run(*words: str) -> CompletedProcess[str]:
    """Run nvidia-ctk; return how it ended."""
    env = {**os.environ, "PYTHONPATH": os.path.dirname(nvidia_runtime.__path__[0])}
    return processes.run([sys.executable, "-c", ctk.PROGRAM, *words], env=env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A container that runs, and the control group that judges its devices.

    ``group`` is the folder of that group, if its process is not in it.
    """

    container: Container
    pid: int
    hierarchy: str
    group: Path | None = None

    @property
    def folder(self) -> str:
        """The folder of its control group."""
        if self.group:
            return os.fspath(self.group)
        groups = control_groups.of_process(self.pid)
        (folder,) = [group.folder for group in groups if group.hierarchy == self.hierarchy]
        return folder

    def opened(self) -> list[str]:
        """Open its nodes in it; return what the kernel says."""
        script = "for node; do (: <>$node) 2>&1; done"
        done = self.container.exec("sh", "-c", script, "sh", *PATHS)
        return [line.rpartition(": ")[2] for line in done.stdout.splitlines()]

    def lose(self, hidden: bytes = b"") -> None:
        """Take the rules for NVIDIA's devices away; on v2 as another program, as systemd's is."""
        if self.hierarchy == DEVICES:
            for rule in RULES:
                Path(self.folder, "devices.deny").write_text(rule)
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            with bpf.loaded(hidden or LOST, "sd_devices") as program:
                bpf.attach(descriptor, program, bpf.F_ALLOW_MULTI)
        finally:
            os.close(descriptor)

    def programs(self) -> list[bpf.Program]:
        """Return the programs of its group."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            return [bpf.read(number) for number in bpf.query(descriptor)[0]]
        finally:
            os.close(descriptor)


# It allows what a container always needs.
LOST = device_program.with_rules(
    device_program.refusing(),
    [
        *(Rule(kind="c", major=1, minor=minor) for minor in (3, 5, 7, 8, 9)),
        *(Rule(kind="c", major=5, minor=minor) for minor in (0, 1, 2)),
    ],
)


def things(live: Live) -> list[dict[str, str]]:
    """Return what explain says of a container now."""
    document = check("output/explain", run("explain", live.container.id, "--json").stdout)
    assert document["now"]["pid"] == live.pid
    listed: list[dict[str, str]] = document["now"]["things"]
    return listed
