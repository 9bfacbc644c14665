# SPDX-License-Identifier: Apache-2.0
"""Modes of a container's files."""

import posix

from nvidia_runtime.rootfs import mounts, resolver


def change(root: resolver.Place, path: str, mode: int) -> bool:
    """Set the mode of what a path leads to; say whether there was anything to do.

    What is missing, or not ours to change, is left alone.
    """
    try:
        with resolver.walk(root, path) as place:
            if place.status().st_mode & 0o777 == mode or mounts.file_system(place) in mounts.KERNEL:
                return False
            posix.chmod(place.by_descriptor(), mode)
            return True
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
