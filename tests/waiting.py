# SPDX-License-Identifier: Apache-2.0
"""Waiting for something to become so: as long as a busy machine needs, not for what has died."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# Seconds: what takes longer than this here hangs.  No test says how quick anything is.
PATIENCE = 60.0


def eventually(
    is_so: Callable[[], object], what: str, process: subprocess.Popen[Any] | None = None
) -> None:
    """Wait until something is so; fail with its name when it never is.

    If a process has to make it so, fail as soon as that has ended, with what it said to its pipes.
    """
    end = time.monotonic() + PATIENCE
    while not is_so():
        if process and process.poll() is not None and not is_so():
            raise AssertionError(f"not so: {what}; {epitaph(process)}")
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.01)


def epitaph(process: subprocess.Popen[Any]) -> str:
    """Say how a process ended, and what can still be read of its output."""
    said = "".join(filter(None, (read(process.stderr), read(process.stdout))))
    return f"{process.args!r} ended with {process.returncode}: {said}"


def read(pipe: IO[Any] | None) -> str:
    """Read what is left in the pipe of a process that has ended."""
    data = pipe.read() if pipe else ""
    return data if isinstance(data, str) else data.decode(errors="replace")


def becomes(process: subprocess.Popen[Any], name: str, what: str) -> None:
    """Wait until a process executes a program of this name."""

    def has_become() -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{process.pid}/comm").read_text() == f"{name}\n"
        return False

    eventually(has_become, what, process)


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie, which some containers' init never fetches."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
