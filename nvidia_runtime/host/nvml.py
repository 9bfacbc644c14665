# SPDX-License-Identifier: Apache-2.0
"""Ask NVML for the GPUs, in a child: if it crashes or hangs, that costs the GPU it asked about.

The child writes what it does, line by line.  Another one follows it, and leaves out that GPU.
"""

from __future__ import annotations

import math
import os
import sys
import time

from nvidia_runtime import document
from nvidia_runtime.host import child, nvml_problems, proc
from nvidia_runtime.host.gpu import Gpu, Mig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Line = dict[str, Any]

# Seconds after which a user at a terminal is told what takes so long.
PROGRESS_AFTER = 0.3
# After a GPU that does not answer, the others get this part of the time: an engine waits.
HURRY = 4
# Without persistence mode a GPU takes a second or more; with it, milliseconds.
SLOW = 0.25


class Inventory:
    """What NVML knows: the versions of driver and CUDA, the GPUs; and warnings about it.

    ``slow`` are the seconds that it took if that was long, else 0.
    """

    __slots__ = ("cuda", "driver", "gpus", "slow", "warnings")

    def __init__(self) -> None:
        self.driver = ""
        self.cuda = ""
        self.gpus: list[Gpu] = []
        self.slow = 0.0
        self.warnings: list[str] = []


def ask(library: str, patience: float, count: int = 1, limit: float = math.inf) -> Inventory:
    """Ask the library at this path; each GPU may take ``patience`` seconds, all ``limit``.

    ``count`` is the number of GPUs as far as it is known: initialisation takes time for each.
    Raises `NvidiaRuntimeError` if NVML cannot be initialised.
    """
    walk = _Walk(library, patience, count, limit)
    while not walk.is_done:
        _run_child(walk)
    walk.clear_progress()
    inventory = walk.inventory
    inventory.gpus = [walk.gpus[index] for index in sorted(walk.gpus)]
    if walk.slowest > SLOW:
        inventory.slow = walk.seconds
        inventory.warnings.append(nvml_problems.slow(walk.seconds, len(inventory.gpus)))
    return inventory


class _Walk:
    """The state of the walk over the GPUs; the lines of children change it."""

    def __init__(self, library: str, patience: float, count: int, limit: float) -> None:
        self.library = library
        self.patience = patience
        self.limit = limit
        self.inventory = Inventory()
        self.gpus: dict[int, Gpu] = {}
        self.count = max(count, 1)
        self.at: int | None = None  # None: initialisation
        self.is_done = False
        self.began = self.since = time.monotonic()
        self.slowest = 0.0
        self.seconds = 0.0
        self.has_progress = False
        self.has_silent = False

    def allowance(self) -> float:
        """Return the seconds that this step may take; initialisation takes some for each GPU."""
        if self.at is None:
            return self.patience * (1 + self.count / 4)
        return self.patience / (HURRY if self.has_silent else 1)

    def time_left(self) -> float:
        """Return the seconds that are left of them."""
        return min(self.since + self.allowance(), self.began + self.limit) - time.monotonic()

    def take(self, line: Line) -> None:
        """Take in a line of the child."""
        now = time.monotonic()
        if "error" in line and "gpu" not in line:
            raise nvml_problems.initialisation(self.library, line)
        if "driver" in line:
            self.inventory.driver, self.inventory.cuda = line["driver"], line["cuda"]
            self.count = line["count"]
            self._measure(now - self.since, self.count)
        if "at" in line:
            self.at = line["at"]
        if "gpu" in line:
            self.gpus[line["gpu"]] = _gpu(line)
            self._measure(now - self.since, 1)
        self.is_done = "done" in line
        self.since = now

    def lose(self, problem: str) -> None:
        """Note that the child failed for a GPU, or for all that are left if it did not start."""
        if self.at is None and not self.gpus:
            raise nvml_problems.silent(self.library, problem)
        left = [index for index in range(self.count) if index not in self.gpus]
        for index in left if self.at is None else [self.at]:
            self.gpus[index] = Gpu(index)
            self.gpus[index].is_silent = True
            self.gpus[index].problem = nvml_problems.lost_child(index, problem)
        if time.monotonic() >= self.began + self.limit:
            for index in range(self.count):
                if index not in self.gpus:
                    self.gpus[index] = Gpu(index)
                    self.gpus[index].problem = nvml_problems.not_asked(index)
        self.at = None
        self.since = time.monotonic()
        self.is_done = len(self.gpus) >= self.count

    def show_progress(self) -> None:
        """Tell a user at a terminal what we wait for."""
        if time.monotonic() - self.began < PROGRESS_AFTER or not os.isatty(2):
            return
        if os.environ.get("TERM", "dumb") == "dumb":  # it could not take the line away again
            return
        what = "starting NVML" if self.at is None else f"asking GPU {self.at} of {self.count}"
        sys.stderr.write(f"\r\033[K{what} …")
        sys.stderr.flush()
        self.has_progress = True

    def clear_progress(self) -> None:
        """Remove the progress line."""
        if self.has_progress:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self.has_progress = False

    def _measure(self, seconds: float, count: int) -> None:
        self.slowest = max(self.slowest, seconds / max(count, 1))
        self.seconds += seconds


def _gpu(line: Line) -> Gpu:
    gpu = Gpu(line["gpu"])
    if "error" in line:
        gpu.problem = nvml_problems.gpu(gpu.index, line)
        gpu.failure = f"{line['call']}:{line['error']}"
        return gpu
    for name in ("name", "minor", "uuid", "architecture", "brand", "is_coherent", "is_mig"):
        setattr(gpu, name, line[name])
    gpu.bus_id = proc.bus_id(line["bus_id"])
    gpu.migs = tuple(_mig(device) for device in line["migs"])
    return gpu


def _mig(device: Line) -> Mig:
    mig = Mig(device["index"])
    for name in ("uuid", "gpu_instance", "compute_instance", "has_graphics"):
        setattr(mig, name, device[name])
    return mig


def _run_child(walk: _Walk) -> None:
    """Have a child walk the GPUs that are left, until it ends, crashes or takes too long."""
    with child.Child(lambda say: _walk_in_child(walk, say)) as asked:
        problem = _listen(walk, asked)
        if not walk.is_done:
            walk.lose(problem or asked.ending())


def _walk_in_child(walk: _Walk, say: child.Say) -> None:
    from nvidia_runtime.host import nvml_calls  # only in the child

    nvml_calls.walk(walk.library, set(walk.gpus), say)


def _listen(walk: _Walk, asked: child.Child) -> str:
    """Read the child's lines until it is done or ends; return a sentence if it takes too long."""
    rest = b""
    while not walk.is_done:
        walk.show_progress()
        left = walk.time_left()
        if left <= 0:
            allowed = walk.allowance()
            walk.has_silent = True
            return child.silent(allowed)
        data = asked.read(min(left, PROGRESS_AFTER))
        if data is None:
            continue
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            walk.take(document.loads(line, "NVML"))
    return ""
