# SPDX-License-Identifier: Apache-2.0
"""The files of a command line: read whole, ``-`` being stdin; written whole or not at all.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

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
    """Give the name of a file for messages."""
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
        temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}")
        temporary.unlink(missing_ok=True)  # of a killed run with our number
        try:
            _write_new(temporary, data, mode)
            temporary.rename(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", path) from None
    except (ValueError, RuntimeError) as error:  # the latter: links in a circle
        raise NvidiaRuntimeError(os_reason(error), path) from None


def _is_special(path: str) -> bool:
    """Whether a path is a terminal, a pipe or another door, such as /dev/stdout."""
    return path.startswith(("/dev/", "/proc/")) or (
        os.path.exists(path) and not os.path.isfile(path)
    )


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, mode)
