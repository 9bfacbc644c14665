# SPDX-License-Identifier: Apache-2.0
"""Which daemons of the driver run, by their names."""

from __future__ import annotations

from nvidia_runtime.host import root as driver_root
from nvidia_runtime.store import files

# As many characters of a name as the kernel keeps, TASK_COMM_LEN.
LONGEST = 15
PROC = "/proc"
# The first process of the kernel's own, which a PID namespace does not show.
KERNEL_THREADS = f"{PROC}/2/comm", "kthreadd"


def is_running(name: str) -> bool:
    """Whether a process has a name."""
    wanted = name[:LONGEST]
    pids = (pid for pid in driver_root.names(PROC) if pid.isdigit())
    return any((files.read_text(f"{PROC}/{pid}/comm") or "").strip() == wanted for pid in pids)


def sees_all() -> bool:
    """Whether all processes of this machine are seen: not in a container."""
    path, name = KERNEL_THREADS
    return (files.read_text(path) or "").strip() == name
