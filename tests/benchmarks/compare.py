# SPDX-License-Identifier: Apache-2.0
"""Compare two revisions on one machine, pair by pair.

``python tests/benchmarks/compare.py BASE`` measures the revision BASE and the tree as it is.  Each
row of the other benchmarks that runs our programs is run in pairs, now this one first, now that
one; the table has the median of the pairs' ratios with the bounds that hold it in 95 of 100 cases.
Wall time judges a row where its bounds are within 0.01 of the median, else the measure whose bounds
are nearest.  The exit status is 1 where an upper bound is above 1.02.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import simulated
from benchmarks import bench, containers, cost, machines, results

HERE = str(Path(__file__).resolve())
MOST = 1.02
QUIET = 0.01
# What our programs need of a tree.
PARTS = ("nvidia_runtime", "packaging", "schemas")
# As where pip has installed it; the launcher takes the interpreter from the first line.
CTK = "#!{python}\nimport sys\nsys.path.insert(0, {tree!r})\nfrom nvidia_runtime.cli import main\nmain()\n"
# Where rows are run: on this host, and on simulated machines.
HOST = "host"
PLACES = (HOST, machines.FULL, machines.MIG, machines.MIXED, "containers")
# A row that takes less, in ms, is run several times for each of a pair.
SHORT = 15
Pairs = dict[str, list[tuple[cost.Cost, cost.Cost]]]
Rows = dict[str, Callable[[], cost.Cost]]


class Median(NamedTuple):
    """The median of some values, and the bounds that hold the true one in 95 of 100 cases."""

    lower: float
    value: float
    upper: float


class Side:
    """A process that measures one revision, in a place of its own."""

    def __init__(self, place: str, tree: Path) -> None:
        words = [sys.executable, HERE, "--inside", place, str(tree)]
        if place != HOST:
            machine = containers.MACHINE if place == "containers" else place
            words = simulated.words(machine, words)
        pipe = subprocess.PIPE
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=self.said, text=True, cwd=results.TREE
        )
        self.rows: list[str] = self._answer()

    def measure(self, row: str) -> cost.Cost:
        """Run a row once."""
        assert self.process.stdin
        print(row, file=self.process.stdin, flush=True)
        return cost.Cost(*self._answer())

    def end(self) -> None:
        """End the process, by the end of its input."""
        self.process.communicate()
        self.said.close()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.said.seek(0)
            raise SystemExit(self.said.read())
        return json.loads(line)


def serve(place: str, tree: Path) -> None:
    """Print the names of a place's rows; then run each that is read, and print what it took."""
    if place == HOST:
        bench.enter_tmpfs()
    launcher = tree / "packaging" / "bin" / results.NAME
    with (
        host(launcher)
        if place == HOST
        else real_containers(launcher)
        if place == "containers"
        else on_machine(place, launcher)
    ) as rows:
        print(json.dumps([*rows]), flush=True)
        for line in sys.stdin:
            print(json.dumps(dataclasses.astuple(rows[line.strip()]())), flush=True)


@contextmanager
def host(launcher: Path) -> Iterator[Rows]:
    """Return the rows of ``bench.py``, and a command of nvidia-ctk."""
    place = "/run" if os.environ.get("NVCR_BENCH_RUN") else None
    with tempfile.TemporaryDirectory(prefix="nvcr-bench-", dir=place) as folder:
        site = bench.Site(Path(folder), launcher)
        ours = [pair for pair in bench.cases(site, sys.executable) if "bare" not in pair[0].name]
        for words in (["--help"], ["cdi", "list", "--spec-dir", f"{folder}/cdi-warm"]):
            name = " ".join(["nvidia-ctk", *words[:2]])
            case = cost.Case(name=name, words=(f"{launcher.parent}/nvidia-ctk", *words))
            ours.append((case, site.environment()))
        yield timed([*ours, bench.cold(site)])


@contextmanager
def on_machine(name: str, launcher: Path) -> Iterator[Rows]:
    """Return the rows of ``machines.py`` on one machine."""
    with machines.opened(name, launcher, sys.executable) as cases:
        yield {f"{name}: {row}": run for row, run in timed(cases[1:]).items()}


@contextmanager
def real_containers(launcher: Path) -> Iterator[Rows]:
    """Return the rows of ``containers.py``, but for those of runc alone."""
    with containers.opened(launcher, results.program("runc")) as (site, cases):
        yield {
            f"runc create, {case.name}": lambda case=case: site.create(case)  # type: ignore[misc]
            for case in cases
            if case.program == str(launcher)
        }


def timed(cases: list[tuple[cost.Case, dict[str, str]]]) -> Rows:
    """Return cases as rows."""
    return {
        case.name: lambda case=case, environment=environment: cost.run(case, environment)  # type: ignore[misc]
        for case, environment in cases
    }


def measure(base: Side, tree: Side, rows: list[str], pairs: int) -> Pairs:
    """Run all rows in turn, each first of the one revision, then of the other, and the reverse."""
    often = dict.fromkeys(rows, 1)
    for row in rows:
        for side in (base, tree) * 3:  # compiles bytecode and snapshots, and lets stamps settle
            wall = side.measure(row).wall
            time.sleep(0.06)
        often[row] = math.ceil(SHORT / wall)
    costs: Pairs = {row: [] for row in rows}
    for _ in range(pairs):
        for row, count in often.items():
            earlier: list[cost.Cost] = []
            later: list[cost.Cost] = []
            for number in range(count):
                sides = [(base, earlier), (tree, later)]
                for side, taken in sides if (number + len(costs[row])) % 2 else sides[::-1]:
                    taken.append(side.measure(row))
            costs[row].append((mean(earlier), mean(later)))
    return costs


def mean(costs: list[cost.Cost]) -> cost.Cost:
    """Return what one of several runs took."""
    values = zip(*map(dataclasses.astuple, costs), strict=True)
    return cost.Cost(*map(statistics.fmean, values))


def median(values: Sequence[float]) -> Median:
    """Return the median with its bounds: order statistics, by the binomial distribution."""
    ordered = sorted(values)
    count = len(ordered)
    outside, below = 0.0, 0
    while 2 * (outside + math.comb(count, below) / 2**count) <= 0.05:
        outside += math.comb(count, below) / 2**count
        below += 1
    at = max(below - 1, 0)
    return Median(ordered[at], statistics.median(ordered), ordered[count - 1 - at])


def ratios(costs: list[tuple[cost.Cost, cost.Cost]]) -> dict[str, Median]:
    """Return by each measure that there is how much of the base's the tree takes."""
    measures = {
        "wall": [(base.wall, tree.wall) for base, tree in costs],
        "CPU": [(base.cpu, tree.cpu) for base, tree in costs],
        "instructions": [(base.instructions, tree.instructions) for base, tree in costs],
    }
    return {
        name: median([tree / base for base, tree in values])
        for name, values in measures.items()
        if all(base > 0 for base, _ in values)
    }


def decisive(medians: dict[str, Median]) -> str:
    """Return the measure that judges a row."""

    def noise(name: str) -> float:
        lower, value, upper = medians[name]
        return max(upper - value, value - lower)

    return "wall" if noise("wall") <= QUIET else min(medians, key=noise)


def show(costs: Pairs) -> list[str]:
    """Print the rows of a place; return those that are slower."""
    slower = []
    for row, pairs in costs.items():
        medians = ratios(pairs)
        judge = decisive(medians)
        cells = [f"{statistics.median(base.wall for base, _ in pairs):.2f}"]
        for name in ("wall", "CPU", "instructions"):
            one = medians.get(name)
            cells.append(f"{one.value:.3f} ({one.lower:.3f} to {one.upper:.3f})" if one else "")
        print(f"| {row} | {' | '.join(cells)} | {judge} |", flush=True)
        if medians[judge].upper > MOST:
            slower.append(row)
    return slower


def export(base: str, folder: Path) -> tuple[Path, Path]:
    """Copy both revisions, so that nothing but what is in them differs; return their folders."""
    base_tree, tree = folder / "base", folder / "tree"
    base_tree.mkdir()
    words = ["git", "-C", str(results.TREE), "archive", base, *PARTS]
    archive = subprocess.run(words, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(archive.stderr.decode())
    subprocess.run(["tar", "-x", "-C", str(base_tree)], input=archive.stdout, check=True)
    copy_tree(tree)
    for copy in (base_tree, tree):
        ctk = copy / "packaging" / "bin" / "nvidia-ctk"
        ctk.write_text(CTK.format(python=sys.executable, tree=str(copy)))
        ctk.chmod(0o755)
    return base_tree, tree


def copy_tree(folder: Path) -> None:
    """Copy what our programs need of the tree as it is."""
    ignored = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        shutil.copytree(results.TREE / part, folder / part, symlinks=True, ignore=ignored)


def places() -> Sequence[str]:
    """Return where rows can be run here; say why elsewhere they cannot."""
    if os.geteuid():
        print("not root: no simulated machines, so only what needs none\n")
        return PLACES[:1]
    if why := containers.missing():
        print(f"{why}\n")
        return PLACES[:-1]
    return PLACES


def main() -> None:
    """Print the table; exit with 1 if a row is slower than the base's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="the revision to compare to")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--rows", default="", help="only those whose names match this expression")
    parser.add_argument("--place", choices=PLACES, help="only the rows of this one")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        serve(options.inside, Path(options.base))
        return
    slower = []
    with tempfile.TemporaryDirectory(prefix="nvcr-compare-") as folder:
        Path(folder).chmod(0o755)
        base, tree = export(options.base, Path(folder))
        chosen = places()
        print(f"of {options.base}, {options.pairs} pairs; medians of ratios, 95 % bounds\n")
        if not cost.instructions():
            print("perf_event_open(2) counts no instructions on this machine\n")
        print("| | base, ms | wall | CPU | instructions | judged by |\n|---|---|---|---|---|---|")
        for place in chosen:
            if options.place not in (None, place):
                continue
            sides = Side(place, base), Side(place, tree)
            rows = [row for row in sides[1].rows if re.search(options.rows, row)]
            slower += show(measure(*sides, rows, options.pairs))
            for side in sides:
                side.end()
    if slower:
        raise SystemExit(f"slower than {options.base}: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
