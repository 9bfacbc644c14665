# SPDX-License-Identifier: Apache-2.0
"""Device nodes as they are below a root."""

from __future__ import annotations

import os
import stat

from nvidia_runtime.host import root as driver_root


class DeviceNode:
    """A character device: its path below the root and on the host, numbers, mode and group."""

    __slots__ = ("gid", "host_path", "major", "minor", "mode", "path")

    def __init__(self, path: str, host_path: str, status: os.stat_result) -> None:
        self.path = path
        self.host_path = host_path
        self.major = os.major(status.st_rdev)
        self.minor = os.minor(status.st_rdev)
        self.mode = stat.S_IMODE(status.st_mode)
        self.gid = status.st_gid


def find(root: str, pattern: str) -> list[DeviceNode]:
    """Find nodes like ``/dev/nvidia-fs*`` below a root; only the last part may have a ``*``."""
    folder, _, name = pattern.rpartition("/")
    names = [name]
    if "*" in name:
        listed = driver_root.names(driver_root.join(root, folder))
        names = driver_root.matches(listed, name)
    nodes = [read(root, f"{folder}/{name}") for name in names]
    return [node for node in nodes if node]


def read(root: str, path: str) -> DeviceNode | None:
    """Read a node; ``None`` if it is missing or not a character device; links are not followed."""
    host_path = driver_root.join(root, path)
    try:
        status = os.lstat(host_path)
    except (OSError, ValueError):
        return None
    return DeviceNode(path, host_path, status) if stat.S_ISCHR(status.st_mode) else None
