# SPDX-License-Identifier: Apache-2.0
"""Views of the control groups: a low-level runtime run where /sys/fs/cgroup is v1 only, or v2 only.

A machine with both (hybrid) shows either one in a private mount namespace; the namespace holds the
view and nothing else, so each command of a container's life may have a namespace of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import memlock, processes

ROOT = Path("/sys/fs/cgroup")
PRIVATE = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
ONLY_V1 = 'umount /sys/fs/cgroup/unified && exec "$@"'
ONLY_V2 = 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'


def mounts() -> dict[str, str]:
    """List the control group file systems of this machine: mount point to type."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return {row[1]: row[2] for row in rows if row[2] in {"cgroup", "cgroup2"}}


def enter(view: str, program: str = "") -> tuple[str, ...]:
    """Return the words that go before a command to run it where only this view, v1 or v2, is.

    They are of a low-level runtime if its name is given.
    """
    if view == "v1":
        return (*PRIVATE, ONLY_V1, "sh") if os.fspath(ROOT / "unified") in mounts() else ()
    is_alone = mounts().get(os.fspath(ROOT)) == "cgroup2"
    return (*(() if is_alone else (*PRIVATE, ONLY_V2, "sh")), *limits(view, program))


def limits(view: str, program: str) -> tuple[str, ...]:
    """Return the words that let a low-level runtime load its device program here."""
    return memlock.words() if (view, program) == ("v2", "crun") else ()


def missing(view: str) -> str:
    """Say why nothing can run in a view here; empty where it can."""
    if view == "v1" and os.fspath(ROOT / "devices") not in mounts():
        return "no cgroup v1 devices controller is mounted at /sys/fs/cgroup/devices"
    return refusal(enter(view))


def usual() -> str:
    """Name the view that a low-level runtime of this machine uses."""
    return "v2" if missing("v1") else "v1"


def refusal(enter: tuple[str, ...]) -> str:
    """Try a view and return the error, if any."""
    tried = processes.run([*enter, "true"])
    return "" if tried.returncode == 0 else f"no private view of cgroups: {tried.stderr.strip()}"


def remove(group: str) -> None:
    """Remove an engine's own group, empty by now, from every hierarchy: engines leave it behind."""
    for hierarchy in mounts():
        for folder, _, _ in os.walk(f"{hierarchy}/{group}", topdown=False):
            os.rmdir(folder)
