# SPDX-License-Identifier: Apache-2.0
"""All areas at once, each in a process of its own: one that hangs or crashes is a finding.

What an area has said until then counts.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from nvidia_runtime.doctor.finding import (
    ERROR,
    Code,
    Finding,
    Said,
    Step,
    packed,
    unpacked,
)
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nvidia_runtime.doctor.subject import Subject

    Tell = Callable[[str], None]

ROOM = "nvidia_runtime.doctor"
# In the order in which they are shown: what comes first is often the reason of what follows.
AREAS = ("driver", "devices", "specs", "engines", "installation", "system", "containers")
# Seconds for all; what has not ended by then is left out.
PATIENCE = 4.5
MOST = 1 << 16

HANGS = Code(
    "NCT-0001",
    ERROR,
    "a check did not end",
    """
    What was being asked does not answer: a library of the driver, a daemon, or the kernel.  A
    process that cannot even be killed waits in the driver; a GPU that has fallen off the bus does
    that.
    """,
    """
    dmesg says what the driver met (lines with NVRM and Xid).  If an engine does not answer, restart
    it; if the driver does not, the machine.
    """,
)
CRASHED = Code(
    "NCT-0002",
    ERROR,
    "a check crashed",
    "A library of the driver crashed while it was asked, or doctor itself is wrong.",
    "Run it again; if it stays, report it with the output of nvidia-ctk doctor --debug.",
)
CODES = (HANGS, CRASHED)


@dataclass(slots=True)
class Area:
    """What an area has said so far; ``step`` is what it looks at, "" once it is done."""

    name: str
    said: list[Said] = field(default_factory=list)
    step: str = "its beginning"
    rest: bytes = b""

    def take(self, data: bytes, codes: dict[str, Code]) -> None:
        """Take in lines of its process."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            values = json.loads(line)
            if not values:
                self.step = ""
                continue
            said = unpacked(values, codes)
            if isinstance(said, Step):
                self.step = said.what
            else:
                self.said.append(said)


def checks(area: str) -> Callable[[Subject], Iterator[Said]]:
    """Return the function of an area that looks."""
    check: Callable[[Subject], Iterator[Said]] = import_module(f"{ROOM}.{area}").check
    return check


def codes() -> dict[str, Code]:
    """Return all codes by their ids, in the order of areas."""
    modules = [import_module(f"{ROOM}.{area}") for area in (*AREAS, "trial")]
    listed = [*CODES, *(code for module in modules for code in module.CODES)]
    return {code.id: code for code in sorted(listed, key=lambda code: code.id)}


def examine(
    subject: Subject, tell: Tell, *, patience: float = PATIENCE, areas: tuple[str, ...] = AREAS
) -> dict[str, list[Said]]:
    """Return what each area says; ``tell`` is called with what is being looked at."""
    known_codes = codes()
    deadline = time.monotonic() + patience
    running: dict[int, tuple[int, Area]] = {}
    done: dict[str, Area] = {}
    for name in areas:
        pid, readable = _start(checks(name), subject, list(running))
        running[readable] = pid, Area(name)
    poll = select.poll()
    for readable in running:
        poll.register(readable, select.POLLIN)
    while running and (left := deadline - time.monotonic()) > 0:
        tell(", ".join(area.step for _, area in running.values() if area.step))
        for readable, _ in poll.poll(left * 1000):
            pid, area = running[readable]
            data = os.read(readable, MOST)
            if data:
                area.take(data, known_codes)
                continue
            poll.unregister(readable)
            del running[readable]
            done[area.name] = area
            _end(readable, pid)
            if area.step:
                area.said.append(Finding(code=CRASHED, what=f"while looking at {area.step}"))
    for readable, (pid, area) in running.items():
        _end(readable, pid)
        if area.step:  # else it is what it has started that goes on
            what = f"{area.step} did not end within {patience:g} s"
            area.said.append(Finding(code=HANGS, what=what))
        done[area.name] = area
    return {name: done[name].said for name in areas}


def _start(
    check: Callable[[Subject], Iterator[Said]], subject: Subject, others: list[int]
) -> tuple[int, int]:
    """Start a check in a process group of its own; return its id and what it writes to."""
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        _become(check, subject, writable, [readable, *others])
    os.close(writable)
    return pid, readable


def _become(
    check: Callable[[Subject], Iterator[Said]], subject: Subject, writable: int, closed: list[int]
) -> NoReturn:
    """Look, and never return: there must be no second one of us."""
    code = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        # What libraries print is for nobody but who debugs.
        for descriptor in (0, 1) if subject.is_debugging else (0, 1, 2):
            os.dup2(nowhere, descriptor)
        for descriptor in closed:
            os.close(descriptor)
        for said in _all(check, subject):
            _write(writable, json.dumps(packed(said)))
        _write(writable, "{}")
        code = 0
    finally:
        os._exit(code)


def _all(check: Callable[[Subject], Iterator[Said]], subject: Subject) -> Iterator[Said]:
    """Return what a check says; an error of its own is a finding, too."""
    try:
        yield from check(subject)
    except Exception as error:  # noqa: BLE001 (whatever it is, other areas go on)
        if subject.is_debugging:
            traceback.print_exc()
        is_ours = isinstance(error, NvidiaRuntimeError)
        yield Finding(
            code=CRASHED, what=str(error) if is_ours else f"{type(error).__name__}: {error}"
        )


def _write(writable: int, line: str) -> None:
    data = line.encode() + b"\n"
    while data:
        data = data[os.write(writable, data) :]


def _end(readable: int, pid: int) -> None:
    """End a check and what it has started; one that hangs in the kernel is left behind."""
    os.close(readable)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for _ in range(20):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
