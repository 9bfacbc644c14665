# SPDX-License-Identifier: Apache-2.0
"""A file of ours over one of a container's, in its mount namespace, read-only and on no disk.

Ring: hook; loaded for the one verb that mounts.
"""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import mount
from nvidia_runtime.rootfs import files, resolver

NAME = "params"
MODE = 0o444
# A folder that every container has, and in which nothing runs yet: covered for a moment.
STAGE = "/dev"
SIZE = "size=64k,nr_inodes=4,mode=0755"


def cover(root: resolver.Place, path: str, data: bytes) -> None:
    """Show ``data`` in the place of a file of the container's.

    A file system in memory covers a folder, a file in it is bound over the other, and the folder is
    bare again: nothing is written to the image, and nothing stays but the file.
    """
    try:
        with resolver.walk(root, path) as target:
            with resolver.walk(root, STAGE) as stage:
                mount.mount_memory(stage.by_descriptor(), SIZE)
            try:
                _bind(root, target, data)
            finally:
                with resolver.walk(root, STAGE) as covered:
                    mount.detach(covered.by_descriptor())
    except OSError as error:
        what = f"cannot be covered: {os_reason(error)}"
        hint = "the driver's module must be loaded, and the container must have /proc"
        raise NvidiaRuntimeError(what, where=path, hint=hint) from None


def _bind(root: resolver.Place, target: resolver.Place, data: bytes) -> None:
    with resolver.walk(root, STAGE) as folder:
        files.replace(folder, NAME, data, MODE)
        found = posix.open(NAME, posix.O_PATH | posix.O_NOFOLLOW, dir_fd=folder.descriptor)
    with resolver.Place(found, NAME) as source:
        mount.bind(source.by_descriptor(), target.by_descriptor())
    with resolver.walk(root, target.path) as bound:
        mount.make_read_only(bound.by_descriptor())
