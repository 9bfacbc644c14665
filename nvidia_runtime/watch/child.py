# SPDX-License-Identifier: Apache-2.0
"""A refresh in a process of its own: a library of the driver that crashes or hangs ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from nvidia_runtime.watch import notify

# Seconds that a process may take to end after a signal.
GRACE = 1.0
LONGEST_RESULT = 4 << 20


@dataclass(slots=True)
class RunningRefresh:
    """A running refresh: its process group, the file of its output, its deadline."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    deadline: float
    begun: int  # time.time_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a refresh ended: its exit code, and its output, as JSON."""

    code: int
    document: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a text of the document, "" if it has none."""
        value = self.document.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """Return a list of texts of the document."""
        values = self.document.get(name)
        return (
            [value for value in values if isinstance(value, str)]
            if isinstance(values, list)
            else []
        )


def start(command: list[str], deadline: float) -> RunningRefresh:
    """Start a refresh; stderr is ours, for its messages."""
    begun = time.time_ns()
    # Not a pipe: a process of the driver that kept it open would delay us.
    output = tempfile.TemporaryFile()
    environment = {name: value for name, value in os.environ.items() if name != notify.VARIABLE}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        env=environment,
        start_new_session=True,  # a group of its own, which is ended as a whole
    )
    return RunningRefresh(process, output, deadline, begun)


def outcome(child: RunningRefresh) -> Outcome | None:
    """Return the outcome, ``None`` while it runs."""
    code = child.process.poll()
    if code is None:
        return None
    with child.output as output:
        output.seek(0)
        data = output.read(LONGEST_RESULT)
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    return Outcome(code=code, document=document if isinstance(document, dict) else {})


def end(child: RunningRefresh) -> None:
    """End a refresh by SIGTERM, then by SIGKILL; one that hangs in the kernel is left behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(GRACE)
            break
    child.output.close()
