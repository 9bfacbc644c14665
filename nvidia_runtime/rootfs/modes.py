# SPDX-License-Identifier: Apache-2.0
"""Modes of a container's files."""

import errno
import posix

from nvidia_runtime.rootfs import mounts, resolver

_TYPE, _REGULAR = 0o170000, 0o100000


def change(root: resolver.Place, path: str, mode: int) -> bool:
    """Set the mode of what a path leads to; say whether there was anything to do.

    What is missing, or not ours to change, is left alone.  Raises `OSError` for a path that leads
    nowhere, and for a file that has other names: one may be outside of the container's root.
    """
    try:
        with resolver.walk(root, path) as place:
            status = place.status()
            if status.st_mode & 0o777 == mode or mounts.file_system(place) in mounts.KERNEL:
                return False
            if status.st_mode & _TYPE == _REGULAR and status.st_nlink > 1:
                raise OSError(errno.EMLINK, "the file has other names", path)
            posix.chmod(place.by_descriptor(), mode)
            return True
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
