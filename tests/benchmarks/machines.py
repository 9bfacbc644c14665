# SPDX-License-Identifier: Apache-2.0
"""Measure the default mode on simulated machines, as whole processes; needs root.

Like ``bench.py``: medians of interleaved runs, as ratios to a bare interpreter of the same run.
"""

from __future__ import annotations

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
from benchmarks import bench, cost, results
from benchmarks.cost import INTERPRETER, Case, Times
from benchmarks.results import Form, Row

# What a person at a terminal waits for: the last is what a shell's completion calls.
AT_ONCE = ("--version", "--help", "cdi generate --help", "__complete runtime con")
ATTACH_US = 300_000
ATTACH = "create that compiles 4 GPUs and 12 MIG devices where a GPU takes 0.3 s to open"
# What is timed on each machine, where this script runs again.
FULL, MIG, MIXED = "a100x8", "a100x8mig56", "a100x8mig"


class Machine:
    """The inside of a simulated machine: a bundle, a config.toml, our state."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.site = bench.Site(folder, launcher)
        self.cache = folder / "ld.so.cache"
        shutil.copy("/etc/ld.so.cache", self.cache)

    def use(self, hooks: str) -> dict[str, str]:
        """Return the environment of a config.toml that says where hooks run."""
        config = self.site.folder / f"{hooks}.toml"
        text = f'[{results.NAME}]\nruntimes = ["{self.site.runtime}"]\n'
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
        for path in Path("/run", results.NAME).glob("machine-*toolkit.toml"):
            path.unlink()

    def create(self, name: str, before: Callable[[], None] | None = None) -> Case:
        """Return the case of a create that asks for all GPUs."""
        words = (str(self.site.launcher), "create", "--bundle", str(self.site.bundle), "c1")
        return Case(name=name, words=words, before=before or self.site.restore)


@contextmanager
def opened(name: str, launcher: Path, python: str) -> Iterator[list[tuple[Case, dict[str, str]]]]:
    """Return what there is to time on the machine that we are on, with the environment of each."""
    ctk = str(launcher.parent / "nvidia-ctk")
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        machine = Machine(Path(folder), launcher)
        toolkit, auto = machine.use("toolkit"), machine.use("auto")
        bare = Case(name=INTERPRETER, words=(python, "-I", "-S", "-c", "pass"))
        cases = [(bare, toolkit)]
        if name != MIXED:
            cases.append((machine.create("warm"), toolkit))
        if name != MIG:
            cases.append((machine.create("cold", machine.forget), toolkit))
        if name == FULL:
            words = (ctk, "cdi", "generate", "--output", f"{folder}/nvidia.yaml")
            if os.path.exists(ctk):
                cases.append((Case(name="cdi generate", words=words), toolkit))
                cases += [
                    (Case(name=f"nvidia-ctk {line}", words=(ctk, *line.split())), toolkit)
                    for line in AT_ONCE
                ]
            cases.append((machine.create("new image", machine.new_image), auto))
            cases.append((machine.create("second start"), auto))
        yield cases


def inside(name: str, form: Form) -> None:
    """Measure what there is on the machine that we are on; print what it takes as JSON."""
    with opened(name, form.launcher, form.python) as cases:
        print(json.dumps(cost.measure(form.rounds, cases, form.kind)))


def attach(launcher: Path) -> None:
    """Print the seconds of a cold create where opening a GPU takes long."""
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        machine = Machine(Path(folder), launcher)
        case = machine.create("attach", machine.forget)
        print(json.dumps(cost.run(case, machine.use("toolkit")).wall / 1e3))


def on(name: str, form: Form, inside: str, **options: Any) -> Any:
    """Run this script on a machine, and return what it printed."""
    argv = [sys.executable, *form.words(str(Path(__file__).resolve()), inside)]
    done = simulated.run(name, argv, cwd=results.TREE, timeout=600, **options)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table; exit with 1 if a budget is exceeded."""
    form = results.form(__doc__, rounds=60, short_rounds=20)
    if form.inside == "attach":
        attach(form.launcher)
        return
    if form.inside:
        inside(form.inside, form)
        return
    if os.geteuid():
        print("not root: no simulated machines, so no figures of the default mode")
        return
    full, mig, mixed = (on(name, form, name) for name in (FULL, MIG, MIXED))
    rows = table(full, mig, mixed, form)
    if not form.is_short:  # it waits, and takes no time of the processor
        seconds = on(MIXED, form, "attach", attach_us=ATTACH_US)
        rows.append(Row(name=ATTACH, judged_by=form.judge, figure=seconds, unit="s"))
    results.finish("machines", rows, form)


def table(full: Times, mig: Times, mixed: Times, form: Form) -> list[Row]:
    """Return the rows: of which machine, which case, over which."""
    created, compiled = "create, auto mode", "create that compiles"
    cases = [
        (f"{created}, 8 GPUs", full, "warm", ""),
        ("hook-free preparation of a new image, in addition", full, "new image", "warm"),
        ("the same for an image that was started before", full, "second start", "warm"),
        (f"{created}, 56 MIG devices", mig, "warm", ""),
        (f"{compiled} 8 GPUs", full, "cold", INTERPRETER),
        (f"{compiled} 4 GPUs and 12 MIG devices, by NVML", mixed, "cold", INTERPRETER),
        ("cdi generate, 8 GPUs", full, "cdi generate", ""),
        *((f"nvidia-ctk {line}", full, f"nvidia-ctk {line}", "") for line in AT_ONCE),
    ]
    return [
        Row(
            name=name,
            judged_by=form.judge,
            figure=cost.starts_more(times, case, over)
            if over == "warm"
            else cost.starts(times, case, form.kind, over),
            unit=results.unit(over if over == INTERPRETER else ""),
            ms=cost.TYPICAL[form.kind](times[case]),
        )
        for name, times, case, over in cases
        if case in times
    ]


if __name__ == "__main__":
    main()
