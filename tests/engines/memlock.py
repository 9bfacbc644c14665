# SPDX-License-Identifier: Apache-2.0
"""Run a program that may not raise RLIMIT_MEMLOCK, but believes so: memlock.py WORDS...

crun raises it before it loads a device program, which newer kernels do not count against it; where
CAP_SYS_RESOURCE is missing, crun gives up.  A filter of system calls answers 0 in the kernel's
place.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

CAP_SYS_RESOURCE = 24
RLIMIT_MEMLOCK = 8
# The names of the architecture, of setrlimit and of prlimit64: <linux/audit.h>, <asm/unistd.h>.
NUMBERS = {"x86_64": (0xC000003E, 160, 302), "aarch64": (0xC00000B7, 164, 261)}
# <linux/seccomp.h>: where the parts of struct seccomp_data are, and what a filter answers.
NUMBER, ARCHITECTURE, FIRST, SECOND, THIRD = 0, 4, 16, 24, 32
ALLOW, DONE = 0x7FFF0000, 0x00050000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # <linux/bpf_common.h>
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


def words() -> tuple[str, ...]:
    """Return the words that go before a program which raises the limit, where it must not."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapEff:")
    ]
    may = int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1
    return () if may or platform.machine() not in NUMBERS else (sys.executable, "-IS", __file__)


def program(architecture: int, setrlimit: int, prlimit: int) -> bytes:
    """Write the filter: each row is an instruction, and how many to skip if it is so, or not."""
    rows = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, 12, architecture),
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 2, 0, setrlimit),
        (EQUAL, 3, 0, prlimit),
        (RETURN, 0, 0, ALLOW),
        (LOAD, 0, 0, FIRST),
        (EQUAL, 5, 6, RLIMIT_MEMLOCK),
        (LOAD, 0, 0, SECOND),
        (EQUAL, 0, 4, RLIMIT_MEMLOCK),
        (LOAD, 0, 0, THIRD),  # the address of what to set: without one, it asks
        (EQUAL, 0, 1, 0),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, DONE),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def main() -> None:
    """Install the filter, and become the program."""
    data = ctypes.create_string_buffer(program(*NUMBERS[platform.machine()]))
    length = ctypes.sizeof(data) // 8
    head = struct.pack("HxxxxxxP", length, ctypes.addressof(data))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(head), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot install a filter of system calls")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
