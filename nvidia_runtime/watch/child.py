# SPDX-License-Identifier: Apache-2.0
"""A refresh in a process of its own: a driver library that crashes or hangs ends with it.

Ring: elsewhere.
"""

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

# How long a process may take to end when it is asked to.
GRACE = 1.0
LONGEST_RESULT = 4 << 20


@dataclass(slots=True)
class Child:
    """A refresh that runs: its process group, where its result goes, until when it may take."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    deadline: float
    begun: int  # time.time_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a refresh ended: its exit code, and what it printed, as JSON."""

    code: int
    document: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a text of the document, "" if it has none."""
        found = self.document.get(name)
        return found if isinstance(found, str) else ""

    def texts(self, name: str) -> list[str]:
        """Return a list of texts of the document."""
        found = self.document.get(name)
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def start(command: list[str], deadline: float) -> Child:
    """Start a refresh; stderr is ours, so that what it complains of is heard."""
    begun = time.time_ns()
    # A file, no pipe: whoever of a driver's own processes keeps it open delays nobody.
    output = tempfile.TemporaryFile()
    environment = {name: value for name, value in os.environ.items() if name != notify.VARIABLE}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        env=environment,
        start_new_session=True,  # a group of its own, to be ended as a whole
    )
    return Child(process, output, deadline, begun)


def result(child: Child) -> Result | None:
    """Return the result, ``None`` while it runs."""
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
    return Result(code=code, document=document if isinstance(document, dict) else {})


def end(child: Child) -> None:
    """End a refresh: asked first, then made; one that hangs in the kernel is left behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(GRACE)
            break
    child.output.close()
