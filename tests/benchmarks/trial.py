# SPDX-License-Identifier: Apache-2.0
"""Try whether the short form can be relied on where a machine is busy; needs root, takes long.

Beside busy loops, twice as many as there are cores: ``RUNS`` runs of the programs as they are, of
which none may fail, then ``SLOWED`` runs of a copy whose creates take 40 % more time of the
processor, of which each must.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import compare, results

RUNS, SLOWED = 10, 5
SCRIPTS = {"bench": "programs", "machines": "machines", "containers": "containers"}
# What is slowed, and where it is measured.
ROWS = {"bench": "create, 8 GPUs", "machines": "create, auto mode, 8 GPUs"}
MORE = 0.4
# At the end of a module that only a create needs.
SLOW = """
import time
until = time.process_time_ns() + {ns}
while time.process_time_ns() < until:
    pass
"""


@contextmanager
def load() -> Iterator[None]:
    """Keep the machine busy."""
    count = 2 * len(os.sched_getaffinity(0))
    words = [sys.executable, "-I", "-S", "-c", "while True: pass"]
    loops = [subprocess.Popen(words) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def short_form(script: str, *words: str) -> str:
    """Return what a script in its short form says at its end: nothing if all is within budget."""
    path = str(Path(__file__).with_name(f"{script}.py"))
    argv = [sys.executable, path, "--short", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def rows(script: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a script's last run, by their names."""
    sections = json.loads(results.path(is_short=True).read_text())["sections"]
    return {row["name"]: row for row in sections[SCRIPTS[script]]["rows"]}


def highest(script: str) -> str:
    """Return the row of a script's last run that is nearest to its budget."""
    shares = {
        name: row["figure"] / row["budget"] for name, row in rows(script).items() if row["budget"]
    }
    name = max(shares, key=lambda name: shares[name])
    return f"{shares[name]:.2f} of a budget at most ({name})"


def slowed(folder: Path, ms: float) -> str:
    """Copy the tree, with a create that takes longer by some ms; return its programs' folder."""
    compare.copy_tree(folder)
    with (folder / "nvidia_runtime" / "create.py").open("a") as module:
        module.write(SLOW.format(ns=int(ms * 1e6)))
    return str(folder / "packaging" / "bin")


def main() -> None:
    """Print how each run went; exit with 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of the programs as they are")
    parser.add_argument("--slowed", type=int, default=SLOWED, help="of slower ones, of each script")
    options = parser.parse_args()
    wrong = 0
    with load():
        for number in range(max(options.runs, 1)):
            for script in SCRIPTS:
                said = short_form(script)
                wrong += bool(said)
                print(f"as it is, {number + 1}, {script}: {said or highest(script)}", flush=True)
        usual = {script: rows(script)[name]["ms"] for script, name in ROWS.items()}
        for script, name in ROWS.items():
            with tempfile.TemporaryDirectory(prefix="nvcr-trial-") as folder:
                programs = slowed(Path(folder), MORE * usual[script])
                for number in range(options.slowed):
                    said = short_form(script, "--bin", programs)
                    wrong += name not in said.removeprefix("over budget: ").split("; ")
                    print(f"slowed, {number + 1}, {script}: {said or highest(script)}", flush=True)
    if wrong:
        raise SystemExit(f"{wrong} runs went wrong")


if __name__ == "__main__":
    main()
