# SPDX-License-Identifier: Apache-2.0
"""Device nodes as they are below a root.  Ring: elsewhere."""

from __future__ import annotations

import os
import stat

from nvidia_runtime.host import root as driver_root


class Node:
    """A character device: its path below the root and on the host, numbers, mode and group."""

    __slots__ = ("gid", "host_path", "major", "minor", "mode", "path")

    def __init__(self, path: str, host_path: str, found: os.stat_result) -> None:
        self.path = path
        self.host_path = host_path
        self.major = os.major(found.st_rdev)
        self.minor = os.minor(found.st_rdev)
        self.mode = stat.S_IMODE(found.st_mode)
        self.gid = found.st_gid


def find(root: str, pattern: str) -> list[Node]:
    """Find nodes like ``/dev/nvidia-fs*`` below a root; only the last part may have a ``*``."""
    folder, _, name = pattern.rpartition("/")
    names = [name]
    if "*" in name:
        listed = driver_root.names(driver_root.join(root, folder))
        names = [each for each in listed if driver_root.is_match(each, name)]
    found = [read(root, f"{folder}/{each}") for each in names]
    return [node for node in found if node]


def read(root: str, path: str) -> Node | None:
    """Read a node; ``None`` if it is missing or no character device itself (a link is none)."""
    host_path = driver_root.join(root, path)
    try:
        found = os.lstat(host_path)
    except (OSError, ValueError):
        return None
    return Node(path, host_path, found) if stat.S_ISCHR(found.st_mode) else None
