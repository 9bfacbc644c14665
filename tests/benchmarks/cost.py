# SPDX-License-Identifier: Apache-2.0
"""What a command takes: a whole process, with those that it starts and waits for.

Time of the processor is what the kernel's scheduler has counted in nanoseconds (wait4(2) adds up
both kinds of it), not samples of its clock, so that a millisecond is more than a guess.
"""

from __future__ import annotations

import ctypes
import functools
import os
import statistics
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

# What each case took in each round, in ms.
Times = dict[str, list[float]]
# The case that others are compared with.
INTERPRETER = "bare interpreter"
# What counts of all rounds, by the kind of time.  What else runs only ever adds time of the processor,
# by caches that are no longer warm: beside four busy loops on two cores ratios of the lowest of 25
# rounds were within 4 % of an idle machine's, those of medians within 10 %.
TYPICAL: dict[str, Callable[[list[float]], float]] = {"wall": statistics.median, "cpu": min}
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, see prctl(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command to time; what ``over`` names is subtracted from it."""

    name: str
    words: tuple[str, ...]
    program: str = ""
    over: str = ""
    stdin: str = "/dev/null"
    before: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: milliseconds by the clock and of the processor, and its instructions.

    The latter two count what it waited for, too; a machine that counts no instructions says 0.
    """

    wall: float
    cpu: float
    instructions: float


def run(case: Case, environment: dict[str, str]) -> Cost:
    """Run a command once."""
    if case.before:
        case.before()
    quiet = [
        (os.POSIX_SPAWN_OPEN, 0, case.stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
    ]
    executed = instructions()
    began = time.perf_counter_ns()
    pid = os.posix_spawn(case.program or case.words[0], case.words, environment, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    took = time.perf_counter_ns() - began
    if status:
        raise SystemExit(f"{case.name}: {' '.join(case.words)} ended with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(took / 1e6, cpu * 1e3, instructions() - executed)


def measure(rounds: int, wanted: list[tuple[Case, dict[str, str]]], kind: str) -> Times:
    """Return what each case took in each round, by a field of its cost.

    All run in turn, so that a drift of the machine meets all of them.
    """
    for case, environment in wanted:
        for _ in range(3):  # compiles bytecode and the snapshot, and lets its stamps settle
            run(case, environment)
            time.sleep(0.06)
    times: Times = {case.name: [] for case, _ in wanted}
    for _ in range(rounds):
        for case, environment in wanted:
            times[case.name].append(getattr(run(case, environment), kind))
    return times


def starts(times: Times, name: str, kind: str, over: str = "") -> float:
    """Return a case in interpreter starts, less what a much smaller one takes."""
    typical = TYPICAL[kind]
    less = typical(times[over]) if over else 0.0
    return (typical(times[name]) - less) / typical(times[INTERPRETER])


def starts_more(times: Times, name: str, over: str) -> float:
    """Return how many interpreter starts more than another case a case takes.

    What differs little is compared within each round: a busy machine meets both alike.
    """
    rounds = zip(times[name], times[over], times[INTERPRETER], strict=True)
    return statistics.median((more - less) / start for more, less, start in rounds)


def ratio(times: Times, name: str, over: str) -> float:
    """Return how many times another case a case takes, compared in the same way."""
    rounds = zip(times[name], times[over], strict=True)
    return statistics.median(more / less for more, less in rounds)


def adopt() -> None:
    """Become the parent of what our programs leave behind: a created container's first process."""
    if ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def reap() -> float:
    """Wait for all that our programs have left; return the processor's milliseconds of these."""
    cpu = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return cpu * 1e3
        cpu += usage.ru_utime + usage.ru_stime


def instructions() -> int:
    """Return how many instructions this process and its children have executed; 0 if not counted."""
    counter = _counter()
    return int.from_bytes(os.read(counter, 8), sys.byteorder) if counter >= 0 else 0


@functools.cache
def _counter() -> int:
    """Open a counter of the processor, see perf_event_open(2); -1 where there is none."""
    number = {"x86_64": 298, "aarch64": 241}.get(os.uname().machine)
    if number is None:
        return -1
    size, hardware, count_instructions, inherit = 112, 0, 1, 1 << 1
    attributes = struct.pack("=IIQQQQQ", hardware, size, count_instructions, 0, 0, 0, inherit)
    attributes = attributes.ljust(size, b"\0")
    # Of this process, on any processor, in no group.
    counter: int = ctypes.CDLL(None).syscall(number, attributes, 0, -1, -1, 0)
    return counter
