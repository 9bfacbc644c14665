# SPDX-License-Identifier: Apache-2.0
"""What Python has no call for: a file system to the disk, two names exchanged."""

from __future__ import annotations

import ctypes
import os

AT_FDCWD = -100
RENAME_EXCHANGE = 2

LIBC = ctypes.CDLL(None, use_errno=True)


def sync(path: str) -> None:
    """Bring a file system to the disk, see syncfs(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(LIBC.syncfs(descriptor), path)
    finally:
        os.close(descriptor)


def exchange(one: str, other: str) -> None:
    """Exchange two names of one file system in one step, see renameat2(2)."""
    words = AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other)
    _check(LIBC.renameat2(*words, ctypes.c_uint(RENAME_EXCHANGE)), one)


def _check(result: int, where: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), where)
