# SPDX-License-Identifier: Apache-2.0
"""Whether a container runs, as the files say in which runc and crun keep its state.

Ring: elsewhere.
"""

from __future__ import annotations

import json
import os
from typing import Any

RUNNING, STOPPED, GONE, UNKNOWN = "running", "stopped", "gone", "?"
# In the folder of a container: runc's and crun's files, with the keys of the process id and of its
# start, in clock ticks since boot.
FILES = (
    ("state.json", "init_process_pid", "init_process_start"),
    ("status", "pid", "process-start-time"),
)
# Behind the name of the program in /proc/PID/stat, which may hold anything: proc(5).
STATE, START = 0, 19


def state(container: str, root: str = "") -> str:
    """Return the state of a container; it is gone if the low-level runtime knows nothing of it.

    ``root`` is the folder of all states, "" for those of runc and crun themselves.
    """
    return process(container, root)[0]


def process(container: str, root: str = "") -> tuple[str, int]:
    """Return the state of a container, and the id of its first process, 0 unless it runs."""
    for folder in [root] if root else _default_roots():
        for name, pid, start in FILES:
            try:
                with open(os.path.join(folder, container, name), encoding="utf-8") as file:
                    document: Any = json.load(file)
                number = int(document[pid])
                is_there = _runs(number, int(document[start]))
                return (RUNNING, number) if is_there else (STOPPED, 0)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
                return UNKNOWN, 0
    return GONE, 0


def _default_roots() -> list[str]:
    folder = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
    return [f"{folder}/runc", f"{folder}/crun"] if folder.startswith("/") else []


def _runs(pid: int, start: int) -> bool:
    """Whether a process is there that is not dead, and no later one with its number."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[STATE] not in ("Z", "X") and fields[START] == str(start)
