# SPDX-License-Identifier: Apache-2.0
"""The kernel's log as it is now, see Documentation/ABI/testing/dev-kmsg."""

from __future__ import annotations

import errno
import os
import re
import time
from dataclasses import dataclass

PATH = "/dev/kmsg"
MOST = 16 << 20
# A record is one read; a shorter buffer is refused.
RECORD = 8192
ROW = re.compile(r"(?P<priority>\d+),\d+,(?P<time>\d+),[^;]*;(?P<text>.*)")
# The priority of a program's own record is at least this: only the kernel is facility 0.
OF_PROGRAMS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """What the kernel said, and when, in seconds of the clock."""

    time: float
    text: str


def read(path: str = PATH) -> list[Line] | None:
    """Return what the kernel itself has said, the oldest first; None where that may not be read.

    Nothing is waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    try:
        data = _all(descriptor)
    finally:
        os.close(descriptor)
    began = time.time() - time.monotonic()
    rows = map(ROW.fullmatch, data.decode("utf-8", "replace").split("\n"))
    return [
        Line(began + int(row["time"]) / 1e6, row["text"])
        for row in rows
        if row and int(row["priority"]) < OF_PROGRAMS
    ]


def _all(descriptor: int) -> bytes:
    parts: list[bytes] = []
    left = MOST
    while left > 0:
        try:
            part = os.read(descriptor, RECORD)
        except OSError as error:
            if error.errno == errno.EPIPE:  # it was overwritten meanwhile; what follows is there
                continue
            break  # EAGAIN: that was all
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
