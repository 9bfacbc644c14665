# SPDX-License-Identifier: Apache-2.0
"""Measure how a create grows: with devices, mounts, CDI specs, and creates at once.

Each point is up to ``ROUNDS`` runs of whole processes, or what ``SECONDS`` suffice for; the figures
go to build/scale.json, for ``plots.py``.  Needs nothing but the package.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import bench, results
from benchmarks.results import Form

ROUNDS, SECONDS = 100, 6
DEVICES = (1, 4, 16, 64, 256, 1024, 4096)
MOUNTS = (1, 5, 50, 500, 5000)
SPECS = (1, 5, 25, 100, 500, 2000)
AT_ONCE = (1, 2, 4, 8, 16, 32, 64)
FILE = results.TREE / "build" / "scale.json"
# A small process: a child begins with its parent's pages, and these count for its peak of memory.
# It prints a line for each create: nanoseconds, status, and kilobytes.
RUNNER = """
import posix, sys, time
rounds, seconds, at_once, touched = map(eval, sys.argv[1:5])
launcher, folder = sys.argv[5:7]
def read(path):
    descriptor = posix.open(path, posix.O_RDONLY)
    size = posix.fstat(descriptor).st_size
    text = posix.read(descriptor, size)
    posix.close(descriptor)
    return text
def write(path, text):
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC, 0o644)
    posix.write(descriptor, text)
    posix.close(descriptor)
config = read(f"{folder}/config.json")
bundles = [f"{folder}/{number}" for number in range(at_once)]
quiet = [(posix.POSIX_SPAWN_OPEN, 1, "/dev/null", posix.O_WRONLY, 0)]
ends = time.perf_counter() + seconds
for number in range(-3, rounds):
    for bundle in bundles:
        write(f"{bundle}/config.json", config)
    if touched:
        write(touched, read(touched))
    began = {}
    for bundle in bundles:
        name = bundle.rsplit("/", 1)[1]
        words = (launcher, "create", "--bundle", bundle, "--pid-file", "/dev/null", f"c{name}")
        now = time.perf_counter_ns()
        began[posix.posix_spawn(launcher, words, posix.environ, file_actions=quiet)] = now
    for _ in bundles:
        pid, status, usage = posix.wait4(-1, 0)
        took = time.perf_counter_ns() - began[pid]
        if number >= 0 or status:
            print(took, status, usage.ru_maxrss)
    if number < 0:
        time.sleep(0.06)  # the stamps of a snapshot settle
    elif time.perf_counter() > ends and number >= 20:
        break
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How long creates took, in ms, and the most memory that one had, in MB."""

    count: int
    creates: int
    p50: float
    p99: float
    memory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of a plot."""

    name: str
    points: list[Point]

    @property
    def growth(self) -> float:
        """Return the exponent between the last two points: 0 is flat, 1 linear, 2 squared."""
        earlier, last = self.points[-2:]
        return math.log(last.p50 / earlier.p50) / math.log(last.count / earlier.count)


class Site(bench.Site):
    """A scratch machine with a folder of bundles for each point."""

    def point(
        self,
        count: int,
        environment: dict[str, str],
        *,
        devices: str = "all",
        at_once: int = 1,
        touched: Path | None = None,
        form: Form,
    ) -> Point:
        """Measure creates that ask for devices."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            (Path(folder) / "config.json").write_text(json.dumps(bench.container(devices)))
            for number in range(at_once):
                (Path(folder) / str(number)).mkdir()
            numbers = (form.rounds, SECONDS, at_once, repr(str(touched) if touched else ""))
            words = [form.python, "-I", "-S", "-c", RUNNER, *map(str, numbers)]
            done = subprocess.run(
                [*words, str(self.launcher), folder],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
        if done.returncode or any(status for _, status, _ in rows):
            raise SystemExit(f"{count}: {done.stderr}")
        times = sorted(took / 1e6 for took, _, _ in rows)
        return Point(
            count=count,
            creates=len(times),
            p50=statistics.median(times),
            p99=times[math.ceil(0.99 * len(times)) - 1],
            memory=max(size for _, _, size in rows) / 1024,
        )


def devices(site: Site, form: Form) -> list[Series]:
    """Return what a spec's number of devices costs."""
    whole, one, named = [], [], []
    for count in DEVICES:
        environment = site.config(f"devices-{count}", spec=bench.gpus(count))
        names = ",".join(map(str, range(count)))
        whole.append(site.point(count, environment, form=form))
        named.append(site.point(count, environment, devices=names, form=form))
        one.append(site.point(count, environment, devices="0", form=form))
    return [
        Series(name="all of them, each by its name", points=named),
        Series(name="all of them", points=whole),
        Series(name="one of them", points=one),
    ]


def mounts(site: Site, form: Form) -> list[Series]:
    """Return what a device's number of mounts costs."""
    points = []
    for count in MOUNTS:
        spec = bench.gpus(8, mounts=count)
        points.append(site.point(count, site.config(f"mounts-{count}", spec=spec), form=form))
    return [Series(name="create, 8 GPUs", points=points)]


def specs(site: Site, form: Form) -> list[Series]:
    """Return what the number of specs of other vendors costs."""
    warm, compiling = [], []
    for count in SPECS:
        environment = site.config(f"specs-{count}", specs=count)
        warm.append(site.point(count, environment, form=form))
        touched = site.folder / f"cdi-specs-{count}" / "vendor0.json"
        compiling.append(site.point(count, environment, touched=touched, form=form))
    return [
        Series(name="create that compiles them, after one has changed", points=compiling),
        Series(name="create, 8 GPUs", points=warm),
    ]


def at_once(site: Site, form: Form) -> list[Series]:
    """Return what a create costs where several begin at once."""
    environment = site.config("at-once")
    points = [site.point(count, environment, at_once=count, form=form) for count in AT_ONCE]
    return [Series(name="create, 8 GPUs", points=points)]


QUESTIONS = {"devices": devices, "mounts": mounts, "specs": specs, "at-once": at_once}


def main() -> None:
    """Measure all, and write the file."""
    bench.enter_tmpfs()
    form = results.form(__doc__, rounds=ROUNDS, short_rounds=20)
    answers: dict[str, list[dict[str, Any]]] = {}
    place = "/run" if os.environ.get("NVCR_BENCH_RUN") else None
    with tempfile.TemporaryDirectory(prefix="nvcr-scale-", dir=place) as folder:
        site = Site(Path(folder), form.launcher)
        for name, measure in QUESTIONS.items():
            answers[name] = []
            for series in measure(site, form):
                answers[name].append({**asdict(series), "growth": series.growth})
                for point in series.points:
                    print(
                        f"{name}, {series.name}: {point.count}: p50 {point.p50:.1f} ms,"
                        f" p99 {point.p99:.1f} ms, {point.memory:.1f} MB, {point.creates} creates"
                    )
                print(f"{name}, {series.name}: grows as n^{series.growth:.2f}", flush=True)
    results.write(FILE, {**results.surroundings(form), "questions": answers})


if __name__ == "__main__":
    main()
