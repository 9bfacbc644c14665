# SPDX-License-Identifier: Apache-2.0
"""Time the default mode on simulated machines, as whole processes; needs root.

Like ``bench.py``: medians of interleaved runs, as ratios to a bare interpreter of the same run.
``--short`` takes fewer rounds and fails beyond budget x 1.25.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import simulated
from benchmarks import bench

ATTACH_US = 300_000
# What is timed on each machine, where this script runs again.
FULL, MIG, MIXED = "a100x8", "a100x8mig56", "a100x8mig"
# By a case's name its median in ms, and its ratio to the bare interpreter.
Figures = dict[str, tuple[float, float]]


class Machine:
    """The inside of a simulated machine: a bundle, a config.toml, our state."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.site = bench.Site(folder, launcher)
        self.cache = folder / "ld.so.cache"
        shutil.copy("/etc/ld.so.cache", self.cache)

    def use(self, hooks: str) -> dict[str, str]:
        """Return the environment of a config.toml that says where hooks run."""
        config = self.site.folder / f"{hooks}.toml"
        text = f'[{bench.NAME}]\nruntimes = ["{self.site.runtime}"]\n'
        config.write_text(f'{text}in-container-hooks = "{hooks}"\n')
        long_ago = time.time_ns() - 10**10
        os.utime(config, ns=(long_ago, long_ago))
        return {**self.site.environment(), "NVIDIA_CTK_CONFIG_FILE_PATH": str(config)}

    def new_image(self) -> None:
        """Restore config.json, and give it a root as an image of Debian has it."""
        self.site.restore()
        root = self.site.bundle / "rootfs"
        shutil.rmtree(root, ignore_errors=True)
        (root / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
        (root / "lib").symlink_to("usr/lib")
        (root / "etc/ld.so.conf.d").mkdir(parents=True)
        shutil.copy(self.cache, root / "etc/ld.so.cache")

    def forget(self) -> None:
        """Restore config.json, and drop what is known of the machine by this config.toml."""
        self.site.restore()
        for path in Path("/run", bench.NAME).glob("machine-*toolkit.toml"):
            path.unlink()

    def create(self, name: str, before: Callable[[], None] | None = None) -> bench.Case:
        """Return the case of a create that asks for all GPUs."""
        words = (str(self.site.launcher), "create", "--bundle", str(self.site.bundle), "c1")
        return bench.Case(name=name, words=words, before=before or self.site.restore)


@contextmanager
def opened(
    name: str, launcher: Path, python: str
) -> Iterator[list[tuple[bench.Case, dict[str, str]]]]:
    """Return what there is to time on the machine that we are on, with the environment of each."""
    ctk = str(launcher.parent / "nvidia-ctk")
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        machine = Machine(Path(folder), launcher)
        toolkit, auto = machine.use("toolkit"), machine.use("auto")
        bare = bench.Case(name="bare interpreter", words=(python, "-I", "-S", "-c", "pass"))
        cases = [(bare, toolkit)]
        if name != MIXED:
            cases.append((machine.create("warm"), toolkit))
        if name != MIG:
            cases.append((machine.create("cold", machine.forget), toolkit))
        if name == FULL:
            words = (ctk, "cdi", "generate", "--output", f"{folder}/nvidia.yaml")
            if os.path.exists(ctk):
                cases.append((bench.Case(name="cdi generate", words=words), toolkit))
            cases.append((machine.create("new image", machine.new_image), auto))
            cases.append((machine.create("second start"), auto))
        yield cases


def inside(name: str, launcher: Path, python: str, rounds: int) -> None:
    """Time what there is to time on the machine that we are on; print the figures as JSON."""
    with opened(name, launcher, python) as cases:
        figures = bench.measure(rounds, cases)
    print(json.dumps({row.case.name: [row.median, row.ratio] for row in figures}))


def attach(launcher: Path) -> None:
    """Print the seconds of a cold create where opening a GPU takes long."""
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        machine = Machine(Path(folder), launcher)
        case = machine.create("attach", machine.forget)
        print(json.dumps(bench.run(case, machine.use("toolkit")).wall / 1e3))


def on(name: str, launcher: Path, *words: str, **options: Any) -> Any:
    """Run this script on a machine, and return what it printed."""
    here = str(Path(__file__).resolve())
    argv = [sys.executable, here, "--bin", str(launcher.parent), *words]
    done = simulated.run(name, argv, cwd=bench.TREE, timeout=600, **options)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table; exit with 1 if a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer rounds, budgets x 1.25")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--bin", default="", help="folder of the executables")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    launcher = bench.find_launcher(options.bin)
    python = str(launcher.parent / "python3")
    python = python if os.path.exists(python) else sys.executable
    rounds = options.rounds or (15 if options.short else 60)
    if options.inside == "attach":
        attach(launcher)
        return
    if options.inside:
        inside(options.inside, launcher, python, rounds)
        return
    if os.geteuid():
        print("not root: no simulated machines, so no figures of the default mode")
        return
    slack = 1.25 if options.short else 1.0
    count = ["--rounds", str(rounds)]
    figures = {name: on(name, launcher, "--inside", name, *count) for name in (FULL, MIG, MIXED)}
    seconds = on(MIXED, launcher, "--inside", "attach", attach_us=ATTACH_US)
    rows = table(figures, seconds)
    print(f"simulated machines, medians of {rounds}\n")
    print("| | measured | budget |\n|---|---|---|")
    for title, value, budget in rows:
        print(f"| {title} | {value:.2f} | {budget or ''} |")
    if any(budget and value > budget * slack for _, value, budget in rows):
        raise SystemExit("a budget is exceeded")


def table(figures: dict[str, Figures], seconds: float) -> list[tuple[str, float, float]]:
    """Return the rows: what, how much, and the budget."""
    full, mig, mixed = (figures[name] for name in (FULL, MIG, MIXED))
    new, second = (full[name][1] - full["warm"][1] for name in ("new image", "second start"))
    rows = [
        ("create, auto mode, 8 GPUs, interpreter starts", full["warm"][1], 1.6),
        ("hook-free preparation of a new image, the same in addition", new, 1.0),
        ("of an image that was started before", second, 0.6),
        ("create, auto mode, 56 MIG devices", mig["warm"][1], 2.2),
        ("create that compiles 8 GPUs, starts over the interpreter", over(full, "cold"), 6.5),
        ("the same with 4 GPUs and 12 MIG devices, by NVML", over(mixed, "cold"), 6.5),
        ("the same where a GPU takes 0.3 s to open, s", seconds, 8 * ATTACH_US / 1e6 + 0.6),
    ]
    if "cdi generate" in full:
        rows.append(("cdi generate, 8 GPUs, interpreter starts", full["cdi generate"][1], 20))
    return rows


def over(figures: Figures, name: str) -> float:
    """Return a median in interpreter starts, less the interpreter's own."""
    return figures[name][1] - figures["bare interpreter"][1]


if __name__ == "__main__":
    main()
