# SPDX-License-Identifier: Apache-2.0
"""Mounts and mount namespaces, see mount(2), unshare(2) and pivot_root(2).

Each call raises `OSError` with the path that it was about.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MNT_DETACH = 2

LIBC = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move to new namespaces."""
    _check(LIBC.unshare(flags), "unshare")


def mount(kind: str, target: str, options: str = "") -> None:
    """Mount a new file system of a kind."""
    words = kind.encode(), os.fsencode(target), kind.encode()
    _check(LIBC.mount(*words, ctypes.c_ulong(0), os.fsencode(options)), target)


def mount_memory(target: str, options: str) -> None:
    """Mount a file system in memory, without devices, set-user-ID or execution."""
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC)
    words = b"tmpfs", os.fsencode(target), b"tmpfs", flags, os.fsencode(options)
    _check(LIBC.mount(*words), target)


def make_read_only(target: str) -> None:
    """Make a bind mount read-only, which takes a second call."""
    flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    _check(LIBC.mount(None, os.fsencode(target), None, ctypes.c_ulong(flags), None), target)


def bind(source: str, target: str, *, alone: bool = False) -> None:
    """Mount a file or folder, with all mounts in it unless ``alone``, at a second place."""
    flags = ctypes.c_ulong(MS_BIND if alone else MS_BIND | MS_REC)
    _check(LIBC.mount(os.fsencode(source), os.fsencode(target), None, flags, None), target)


def make_private(target: str) -> None:
    """Stop mounts at or below a place from propagating, in both directions."""
    flags = ctypes.c_ulong(MS_PRIVATE | MS_REC)
    _check(LIBC.mount(b"none", os.fsencode(target), None, flags, None), target)


def detach(target: str) -> None:
    """Unmount a place; processes that use what was mounted there keep it."""
    _check(LIBC.umount2(os.fsencode(target), MNT_DETACH), target)


def become_root(folder: str) -> None:
    """Make a mount point the root of this mount namespace; the old root is unmounted."""
    os.chdir(folder)
    # The old root is mounted over the new one and then unmounted: it needs no folder.
    _check(LIBC.pivot_root(b".", b"."), folder)
    _check(LIBC.umount2(b".", MNT_DETACH), folder)
    os.chdir("/")


def _check(result: int, place: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)
