# SPDX-License-Identifier: Apache-2.0
"""What of the host's is to be mounted: copied by a descriptor, in our own mount namespace."""

import os
import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy
from nvidia_runtime.linux import trees

_TYPE, _FOLDER = 0o170000, 0o040000
HINT = "install the driver's files again, or give its node back"


class Copy:
    """A copy of what is mounted at a ``source``, for a ``path`` of the container.

    ``tree`` is its descriptor; where the kernel copies nothing, ``is_copied`` is false and it is
    the source's own.  Until it ``is_ready`` its options are missing.
    """

    __slots__ = ("flags", "is_copied", "is_ready", "path", "source", "status", "tree")

    def __init__(self, source: str, path: str, flags: int) -> None:
        self.source = source
        self.path = path
        self.flags = flags
        self.is_copied = self.is_ready = False
        try:
            self.tree = os.open(source, posix.O_PATH | posix.O_CLOEXEC)
            self.status = os.fstat(self.tree)
            self._copy()
        except (OSError, ValueError) as error:
            what = f"cannot be mounted: {os_reason(error)}"
            raise NvidiaRuntimeError(what, source, remedy(error) or HINT) from None

    def _copy(self) -> None:
        try:
            tree = trees.copied(self.tree)
        except trees.IsMissingError:  # an old kernel, or a filter of system calls
            return
        os.close(self.tree)
        self.tree = tree
        self.is_copied = True
        self.is_ready = trees.restrict(tree, self.flags)

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.status.st_mode & _TYPE == _FOLDER

    def is_at(self, status: posix.stat_result) -> bool:
        """Whether it is what somebody looks at."""
        return (status.st_dev, status.st_ino) == (self.status.st_dev, self.status.st_ino)
