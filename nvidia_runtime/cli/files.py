# SPDX-License-Identifier: Apache-2.0
"""Files that a command line names: ``-`` is stdin; each is written as a whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.generate import output

LARGEST = 32 << 20
STDIN = "-"


def read(path: str) -> bytes:
    """Read a file, a pipe or stdin, up to one byte more than the largest allowed size."""
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
    """Replace a file as `output.write` does; a path such as /dev/stdout is written to in place."""
    try:
        is_special = _is_special(path)
        if is_special:
            Path(path).write_bytes(data)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    except ValueError as error:  # a NUL in the path
        raise NvidiaRuntimeError(os_reason(error), path) from None
    if not is_special:
        output.write(path, data, mode)


def _is_special(path: str) -> bool:
    """Whether a path is not a regular file but a terminal or a pipe, for instance."""
    return path.startswith(("/dev/", "/proc/")) or (
        os.path.exists(path) and not os.path.isfile(path)
    )
