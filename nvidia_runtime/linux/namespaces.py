# SPDX-License-Identifier: Apache-2.0
"""Namespaces of other processes, see setns(2) and namespaces(7).

A process is held by a descriptor (pidfd_open(2)) while its namespaces are opened, so that they are
not those of another that got its number.
"""

from __future__ import annotations

import ctypes
import os
import select

CLONE_NEWNS = 0x20000
PR_SET_PDEATHSIG = 1
# All numbers are what they are outside.
INITIAL = [b"0", b"0", b"4294967295"]

LIBC = ctypes.CDLL(None, use_errno=True)


def opened(pid: int, process: int, *kinds: str) -> list[int]:
    """Open the namespaces of a process, by ``mnt`` or ``user``, say; the descriptors are ours.

    ``process`` is a descriptor of it.  Raises `ProcessLookupError` where it has ended, and
    `OSError`.
    """
    descriptors: list[int] = []
    try:
        for kind in kinds:
            descriptors.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
        if has_ended(process):
            raise ProcessLookupError(3, os.strerror(3), str(pid))
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return descriptors


def has_ended(process: int) -> bool:
    """Whether a process has ended, by its descriptor: its number may be another's then."""
    poll = select.poll()  # select(2) takes no descriptor above 1023
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))


def is_own(descriptor: int, kind: str) -> bool:
    """Whether a namespace is the one that we are in."""
    own, other = os.stat(f"/proc/self/ns/{kind}"), os.fstat(descriptor)
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def enter(descriptor: int, kind: int) -> None:
    """Move this process to a namespace; of a mount namespace, its root becomes ours."""
    _check(LIBC.setns(descriptor, kind), "setns")


def are_users_initial() -> bool:
    """Whether we are in the initial user namespace, in which nodes of devices can be made."""
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.read().split() == INITIAL
    except OSError:
        return True


def end_with(parent: int, signal: int) -> None:
    """Let a signal end this process when its parent ends, or now if that has ended."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os._exit(1)


def _check(result: int, place: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), place)
