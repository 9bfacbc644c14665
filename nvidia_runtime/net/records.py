# SPDX-License-Identifier: Apache-2.0
"""Records of the containers that hold network interfaces of the host, and which of them have ended.

Each is a JSON file in the folder ``netns`` of our state, written by the hook that moves the
interfaces; beside it the container's network namespace is pinned.
"""

from __future__ import annotations

import json
import os
from typing import Any

from nvidia_runtime.store import files

Record = dict[str, Any]

FORMAT = 1
OWN_NAMESPACE = "/proc/self/ns/net"


def identity(path: str) -> list[int]:
    """Return the identity of a namespace, nothing if the path leads to none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []
    return [status.st_dev, status.st_ino]


def folder() -> str:
    """Return the folder of the records and pins, "" if there is no state folder."""
    state = files.state_folder()
    return f"{state}/netns" if state else ""


def records(place: str) -> dict[str, Record]:
    """Read the records of all containers that hold interfaces, by file."""
    try:
        names = os.listdir(place) if place else []
    except OSError:
        names = []
    paths = [f"{place}/{name}" for name in sorted(names) if name.endswith(".json")]
    values = {path: read(path) for path in paths}
    return {file: value for file, value in values.items() if value.get("format") == FORMAT}


def is_over(record: Record) -> bool:
    """Whether a record's container has ended; of other namespaces' containers we cannot say."""
    if record["pid_namespace"] != identity("/proc/self/ns/pid"):
        return False
    if record["host_namespace"] != identity(OWN_NAMESPACE):
        return False
    return bool(started(record["pid"]) != record["started"])


def started(pid: int) -> int:
    """Return when a process was started, in clock ticks; 0 if it has ended.

    A zombie has left its namespaces already.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def read(file: str) -> Record:
    """Read a JSON object of ours; a missing or malformed one is empty."""
    try:
        with open(file, "rb") as opened:
            value = json.load(opened)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(file: str, value: Record) -> None:
    """Replace a file of ours; a reader sees old or new."""
    files.replace(file, json.dumps(value).encode())
