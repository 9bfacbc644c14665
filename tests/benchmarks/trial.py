# SPDX-License-Identifier: Apache-2.0
"""Try whether the short form can be relied on where a machine is busy; needs root, takes long.

Beside busy loops, twice as many as there are cores: ``RUNS`` runs of the programs as they are, of
which none may fail, then ``SLOWED`` runs of a copy whose creates take 40 % more time of the
processor, of which each must.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def figure(script: str, name: str) -> dict[str, float]:
    """Return a row of the last run."""
    sections = json.loads(results.path(is_short=True).read_text())["sections"]
    (row,) = [row for row in sections[SCRIPTS[script]]["rows"] if row["name"] == name]
    return dict(row)


def slowed(script: str, name: str, folder: Path) -> Path:
    """Copy the tree, with a create that takes longer than in the last run; return its programs."""
    compare.copy_tree(folder)
    ns = int(figure(script, name)["ms"] * MORE * 1e6)
    with (folder / "nvidia_runtime" / "create.py").open("a") as module:
        module.write(SLOW.format(ns=ns))
    return folder / "packaging" / "bin"


def main() -> None:
    """Print how each run went; exit with 1 if one went wrong."""
    wrong = 0
    with load():
        for number in range(RUNS):
            for script in SCRIPTS:
                said = short_form(script)
                wrong += bool(said)
                print(f"as it is, {number + 1}, {script}: {said or 'no alarm'}", flush=True)
        for script, name in ROWS.items():
            with tempfile.TemporaryDirectory(prefix="nvcr-trial-") as folder:
                programs = slowed(script, name, Path(folder))
                for number in range(SLOWED):
                    said = short_form(script, "--bin", str(programs))
                    wrong += name not in said
                    print(f"slowed, {number + 1}, {script}: {said or 'no alarm'}", flush=True)
    if wrong:
        raise SystemExit(f"{wrong} runs went wrong")


if __name__ == "__main__":
    main()
