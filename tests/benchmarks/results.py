# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks measured: a table to read, a file for programs, and who is over budget.

The long form goes by the clock, and needs an idle machine.  The short form goes by the time that
the processor has spent, allows a quarter more, and stands a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.budgets import BUDGETS

TREE = Path(__file__).resolve().parents[2]
NAME = "nvidia-container-runtime"
SLACK = 1.25
SECTIONS = ("programs", "machines", "containers", "cold", "engines", "pods")
STARTS = "starts"
MEMORY = "peak memory"
# By the name of a cost's field.
JUDGES = {"wall": "median time", "cpu": "lowest CPU time"}
# Programs that figures depend on, and how each is asked for its version; dash has none to say.
VERSIONS = {"runc": "--version", "bash": "--version", "busybox": "--help"}
# runc may lie where only root looks.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure, by what it is judged, and the milliseconds that it was made from if it is a ratio.

    A row that others are compared with has no figure.
    """

    name: str
    judged_by: str
    figure: float | None = None
    unit: str = STARTS
    ms: float | None = None

    @property
    def budget(self) -> float | None:
        """Return what the figure may be at most."""
        return BUDGETS.get(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a script was called: which form, how many rounds, and of which programs."""

    is_short: bool
    rounds: int
    launcher: Path
    python: str
    inside: str

    @property
    def kind(self) -> str:
        """Return the field of a cost that counts."""
        return "cpu" if self.is_short else "wall"

    @property
    def judge(self) -> str:
        """Return the same in words."""
        return JUDGES[self.kind]

    def words(self, script: str, inside: str) -> list[str]:
        """Return the words by which a script runs again, for a part of its work."""
        words = [script, "--inside", inside, "--rounds", str(self.rounds)]
        words += ["--bin", str(self.launcher.parent)]
        return [*words, "--short"] if self.is_short else words


def form(description: str | None, rounds: int, short_rounds: int) -> Form:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="by CPU time, budgets x 1.25")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--bin", default="", help="folder of the executables")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    launcher = find_launcher(options.bin)
    python = str(launcher.parent / "python3")
    if not os.path.exists(python):
        python = sys.executable
    rounds = options.rounds or (short_rounds if options.short else rounds)
    return Form(
        is_short=options.short,
        rounds=rounds,
        launcher=launcher,
        python=python,
        inside=options.inside,
    )


def find_launcher(bin_dir: str = "") -> Path:
    """Return the launcher: of ``bin_dir``, else of this environment, else of the tree."""
    for folder in (bin_dir, sysconfig.get_path("scripts"), str(TREE / "packaging" / "bin")):
        if folder and (Path(folder) / NAME).exists():
            return Path(folder) / NAME
    raise SystemExit(f"no {NAME} found")


def unit(over: str) -> str:
    """Return the unit of a row in interpreter starts, less what another case takes."""
    return f"starts over the {over}" if over else STARTS


def finish(section: str, rows: Sequence[Row], form: Form) -> None:
    """Print the table, add it to the file, and end with 1 if a budget is exceeded."""
    print(f"{section}: {form.judge} of {form.rounds} rounds, {form.launcher}\n")
    print(table([document(row) for row in rows]))
    save(section, rows, form)
    slack = SLACK if form.is_short else 1.0
    if over := [row.name for row in rows if is_over(row, slack)]:
        raise SystemExit(f"over budget: {'; '.join(over)}")


def is_over(row: Row, slack: float) -> bool:
    """Whether a figure is beyond its budget."""
    if row.figure is None or row.budget is None:
        return False
    return row.figure > row.budget * slack


def document(row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    return {**asdict(row), "budget": row.budget}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out rows as Markdown."""
    lines = ["| | ms | measured | budget |", "|---|---|---|---|"]
    for row in rows:
        measured = f"{number(row['figure'])} {row['unit']}" if row["figure"] is not None else ""
        lines.append(
            f"| {row['name']} | {number(row['ms'])} | {measured} | {number(row['budget'])} |"
        )
    return "".join(f"{line}\n" for line in lines)


def number(value: float | None) -> str:
    """Return a figure with as many digits as are worth reading; none for none."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 20 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def path(*, is_short: bool) -> Path:
    """Return the file that a form writes."""
    return TREE / "build" / ("bench-short.json" if is_short else "bench.json")


def save(section: str, rows: Sequence[Row], form: Form) -> None:
    """Write a section into the file; other sections stay if they tell of the same."""
    file = path(is_short=form.is_short)
    try:
        results = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        results = {}
    facts = surroundings(form)
    if any(results.get(name) != fact for name, fact in facts.items()):
        results = {**facts, "sections": {}}
    results["sections"][section] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load": os.getloadavg()[0],
        "rounds": form.rounds,
        "rows": [document(row) for row in rows],
    }
    write(file, results)


def write(file: Path, results: dict[str, Any]) -> None:
    """Write a file of figures, as a whole."""
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1) + "\n")
    fresh.replace(file)


def surroundings(form: Form) -> dict[str, Any]:
    """Return what figures depend on: the machine, the interpreter, what was measured with what."""
    git = ("git", "-C", str(TREE), "describe", "--always", "--dirty", "--abbrev=12")
    version = "import platform; print(platform.python_version())"
    return {
        "revision": said(*git),
        "programs": str(form.launcher),
        "form": "short" if form.is_short else "long",
        "slack": SLACK if form.is_short else 1.0,
        "machine": machine(),
        "interpreter": {
            "path": os.path.realpath(form.python),
            "version": said(form.python, "-ISc", version),
        },
        "versions": {name: version_of(name, word) for name, word in VERSIONS.items()},
    }


def version_of(program: str, word: str) -> str:
    """Return a program's version, as it says it; nothing where there is no such program."""
    line = said(program, word).split("\n")[0]
    match = re.search(r"\d+\.\d[^\s(]*", line)
    return match[0] if match else ""


def machine() -> dict[str, Any]:
    """Return what this machine is."""
    processor = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": processor[0].split(": ", 1)[1] if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "kernel": platform.release(),
    }


def program(name: str) -> str:
    """Return the path of a program, which may lie where only root looks; "" for none."""
    return shutil.which(name, path=PATH) or ""


def said(*words: str) -> str:
    """Return what a program says; nothing where there is no such program."""
    path = program(words[0])
    if not path:
        return ""
    return subprocess.run(
        [path, *words[1:]], capture_output=True, text=True, check=False
    ).stdout.strip()
