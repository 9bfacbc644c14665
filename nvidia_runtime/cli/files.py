# SPDX-License-Identifier: Apache-2.0
"""The files of a command line: read whole, ``-`` being stdin; written whole or not at all.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

LARGEST = 32 << 20
STDIN = "-"


def read(path: str) -> bytes:
    """Read a file, a pipe or stdin, up to one byte more than anything of ours may have."""
    try:
        if path == STDIN:
            return sys.stdin.buffer.read(LARGEST + 1) if sys.stdin else b""
        with open(path, "rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path) from None
    except ValueError as error:
        raise NvidiaRuntimeError(os_reason(error), path) from None


def name(path: str) -> str:
    """Return the name of a file for messages."""
    return "stdin" if path == STDIN else path


def write(path: str, data: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step, making its folders; what is no file is written to as it is.

    A link is followed: the file behind it is replaced.
    """
    try:
        if _is_special(path):
            Path(path).write_bytes(data)
            return
        target = Path(path).resolve()
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.replace(os.fspath(target), data, mode)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    except (ValueError, RuntimeError) as error:  # the latter: links in a circle
        raise NvidiaRuntimeError(os_reason(error), path) from None


def _is_special(path: str) -> bool:
    """Whether a path is a terminal, a pipe or another door, such as /dev/stdout."""
    return path.startswith(("/dev/", "/proc/")) or (
        os.path.exists(path) and not os.path.isfile(path)
    )
