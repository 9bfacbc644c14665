# SPDX-License-Identifier: Apache-2.0
"""Mounts by descriptors, see open_tree(2), mount_setattr(2) and move_mount(2).

What is to be mounted is copied where it is (`copied`), without a place anywhere, and put over what
another descriptor leads to (`put`), in another mount namespace if need be.  No path is looked up in
between.  A kernel before 5.2, or a filter of system calls, has none of it: `IsMissingError`, and
`bind` does it by two descriptors in one namespace.  Each call raises `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

# The same on all architectures but alpha.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
CLONE, CLOEXEC = 1, 0o2000000
EMPTY_PATH, RECURSIVE = 0x1000, 0x8000
FROM_EMPTY_PATH, TO_EMPTY_PATH = 0x04, 0x40
MS_BIND, MS_REC, MS_REMOUNT, MS_PRIVATE = 0x1000, 0x4000, 32, 0x40000
MNT_DETACH = 2
# The options of a mount, as bits for mount(2) and for mount_setattr(2): the same four.
FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}
# All of them, also as statvfs has them: what a mount has already cannot be taken from it in a user
# namespace.  Without a word of access times these stay, too.
KEPT = sum(FLAGS.values())
WITHOUT = (errno.ENOSYS, errno.EPERM)

LIBC = ctypes.CDLL(None, use_errno=True)


class IsMissingError(OSError):
    """The kernel has no such calls, or does not let us make them."""


def copied(source: int) -> int:
    """Copy the mounts at what a descriptor leads to; return a descriptor of the copy.

    It is unmounted when that is closed, unless it was put somewhere.
    """
    flags = CLONE | CLOEXEC | EMPTY_PATH | RECURSIVE
    result: int = LIBC.syscall(
        ctypes.c_long(OPEN_TREE), ctypes.c_int(source), b"", ctypes.c_uint(flags)
    )
    if result < 0:
        number = ctypes.get_errno()
        kind = IsMissingError if number in WITHOUT else OSError
        raise kind(number, os.strerror(number), "open_tree")
    return result


def restrict(tree: int, flags: int) -> bool:
    """Set options of a copy before it is put anywhere, and let its mounts propagate nowhere.

    Says whether the kernel can do that: one before 5.12 can only `remount` it.
    """
    words = struct.pack("=QQQQ", flags, 0, MS_PRIVATE, 0)
    result = LIBC.syscall(
        ctypes.c_long(MOUNT_SETATTR),
        ctypes.c_int(tree),
        b"",
        ctypes.c_uint(EMPTY_PATH | RECURSIVE),
        words,
        ctypes.c_size_t(len(words)),
    )
    if result < 0:
        if ctypes.get_errno() in WITHOUT:
            return False
        _check(result, "mount_setattr")
    return True


def put(tree: int, target: int) -> None:
    """Mount a copy over what a descriptor leads to, in this process' mount namespace."""
    _check(
        LIBC.syscall(
            ctypes.c_long(MOVE_MOUNT),
            ctypes.c_int(tree),
            b"",
            ctypes.c_int(target),
            b"",
            ctypes.c_uint(FROM_EMPTY_PATH | TO_EMPTY_PATH),
        ),
        "move_mount",
    )


def bind(source: int, target: int) -> None:
    """Mount what a descriptor leads to over what another does; both are of this namespace."""
    words = _path(source), _path(target), None, ctypes.c_ulong(MS_BIND | MS_REC), None
    _check(LIBC.mount(*words), "mount")


def remount(mounted: int, flags: int) -> None:
    """Set options of a mount by a descriptor of its root; those that it has stay."""
    kept = os.fstatvfs(mounted).f_flag & KEPT
    words = ctypes.c_ulong(MS_BIND | MS_REMOUNT | flags | kept)
    _check(LIBC.mount(None, _path(mounted), None, words, None), "mount")
    private = ctypes.c_ulong(MS_PRIVATE | MS_REC)
    _check(LIBC.mount(None, _path(mounted), None, private, None), "mount")


def detach(mounted: int) -> None:
    """Unmount what a descriptor of its root leads to."""
    _check(LIBC.umount2(_path(mounted), MNT_DETACH), "umount2")


def _path(descriptor: int) -> bytes:
    return b"/proc/self/fd/%d" % descriptor


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call)
