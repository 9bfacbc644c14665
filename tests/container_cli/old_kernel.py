# SPDX-License-Identifier: Apache-2.0
"""Run a program as on an older kernel: some system calls are unknown to it.

The words are their numbers, with commas, and those of the program; see seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def refuse(numbers: list[int]) -> None:
    rows = [(LOAD, 0, 0, 0)]  # the call's number
    for left, number in zip(range(len(numbers), 0, -1), numbers, strict=True):
        rows.append((IF_EQUAL, left, 0, number))
    rows += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERROR | errno.ENOSYS)]
    code = b"".join(struct.pack("=HBBI", *row) for row in rows)
    buffer = ctypes.create_string_buffer(code, len(code))
    words = struct.pack("@HP", len(rows), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, words, 0, 0)):
        if libc.prctl(*call):
            sys.exit(os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse([int(number) for number in sys.argv[1].split(",")])
    os.execv(sys.argv[2], sys.argv[2:])
