# SPDX-License-Identifier: Apache-2.0
"""Containers that ask for GPUs by a variable, and were made by a runtime that does not read it."""

from __future__ import annotations

import functools
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding, Skipped
from nvidia_runtime.engines import containers
from nvidia_runtime.host import child
from nvidia_runtime.rootfs import resolver
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

IGNORED = Code(
    "NCT-0711",
    WARNING,
    "a running container asks for GPUs, and another runtime made it",
    """
    NVIDIA_VISIBLE_DEVICES is in its environment, but it has no node of the driver, and we have no
    record of it: the engine called runc or crun itself, which does not read the variable.  Nothing
    fails until a program looks for a GPU: 'no CUDA-capable device is detected', 'exec:
    "nvidia-smi": executable file not found'.  Where the image itself sets the variable, and the
    container needs no GPU, all is well.
    """,
    """
    Name our runtime: 'docker run --runtime=nvidia', 'podman --runtime nvidia run', a pod's
    'runtimeClassName: nvidia', or make it the default: 'nvidia-ctk runtime configure
    --set-as-default'.  Or ask by a CDI name, '--device nvidia.com/gpu=all'.
    """,
)
CODES = (IGNORED,)

VARIABLE = "NVIDIA_VISIBLE_DEVICES"
NO_DEVICES = (b"", b"void", b"none")
# As engines name a control group: docker-ID.scope, libpod-ID.scope, /docker/ID, /kubepods/…/ID.
GROUP = re.compile(r"(?<![0-9a-f])(?P<id>[0-9a-f]{64})(?![0-9a-f])")
MONITOR, PODS = "conmon", "kubepods"
NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-ctrl", "/dev/dxg")
LONGEST_ENVIRONMENT, LONGEST_VALUE = 1 << 20, 200
# Seconds for all, and for one.
PATIENCE, LONGEST = 1.5, 0.5
# More containers than these are not looked at: each costs some calls.
MOST, MOST_SHOWN = 500, 5
SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class Process:
    """The first process of a container, and the container's control group."""

    pid: int
    group: str


def check(subject: Subject, recorded: set[str]) -> Iterator[Said]:
    """Look at the containers that run and have no record."""
    if not subject.is_root or not files.loaded_driver():
        return
    shown_ones, deadline = 0, time.monotonic() + PATIENCE
    for container, process in list(_first_processes().items())[:MOST]:
        if container in recorded or shown_ones == MOST_SHOWN:
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            yield Skipped(
                "some containers of other runtimes", f"there was no time in {PATIENCE:g} s"
            )
            return
        answer, _ = child.ask(functools.partial(_asked, process.pid), min(left, LONGEST))
        if not answer:
            continue
        shown_ones += 1
        value = answer.decode("utf-8", "replace")
        own = containers.in_docker_folder(container)
        name = (own.name if own else "") or container[:SHORT_ID]
        yield Finding(
            code=IGNORED,
            what=f"{name} has {VARIABLE}={value}, and no node of the driver",
            where=f"/proc/{process.pid}/environ",
            command="nvidia-ctk runtime status",
            # An image of CUDA in a pod without a GPU is usual.
            severity=NOTE if PODS in process.group else WARNING,
        )


def _first_processes() -> dict[str, Process]:
    """Return the first process of each container, by the container's id."""
    first: dict[str, Process] = {}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        text = files.read_text(f"/proc/{pid}/cgroup") or ""
        for line in text.split("\n"):
            group = line.split(":", 2)[-1]
            ids = GROUP.findall(group)
            if ids and MONITOR not in group:
                first.setdefault(ids[-1], Process(pid, group))
                break
    return first


def _asked(pid: int) -> bytes:
    """Return what a container asks for and has no node of; nothing if it has one, or in doubt.

    What it shows may be its own answer, which may never come: a child asks.
    """
    value = _variable(pid)
    return b"" if value in NO_DEVICES or _has_node(pid) else value


def _variable(pid: int) -> bytes:
    """Return the variable of a process, nothing where it has none, or may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read(LONGEST_ENVIRONMENT).split(b"\0")
    except OSError:
        return b""
    name = f"{VARIABLE}=".encode()
    values = [entry[len(name) :] for entry in entries if entry.startswith(name)]
    return values[-1][:LONGEST_VALUE] if values else b""


def _has_node(pid: int) -> bool:
    """Whether a container has a node of the driver, however it came by it; yes if in doubt."""
    try:
        with resolver.open_root(f"/proc/{pid}/root") as root:
            for path in NODES:
                try:
                    with resolver.walk(root, path):
                        return True
                except (FileNotFoundError, NotADirectoryError):
                    continue
    except (OSError, ValueError):
        return True
    return False
