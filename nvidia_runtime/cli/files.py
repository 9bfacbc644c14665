# SPDX-License-Identifier: Apache-2.0
"""Files that a command line names: ``-`` is stdin; each is written as a whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

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
    """Replace a file, or the file behind a link, in one step, and make its folders.

    A path such as /dev/stdout is written to in place.
    """
    try:
        if _is_special(path):
            Path(path).write_bytes(data)
            return
        target = Path(path).resolve()
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.replace(os.fspath(target), data, mode, sync=True)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    except (ValueError, RuntimeError) as error:  # a NUL in the path, a loop of links
        raise NvidiaRuntimeError(os_reason(error), path) from None


def _is_special(path: str) -> bool:
    """Whether a path is not a regular file but a terminal or a pipe, for instance."""
    return path.startswith(("/dev/", "/proc/")) or (
        os.path.exists(path) and not os.path.isfile(path)
    )
