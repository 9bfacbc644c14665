# SPDX-License-Identifier: Apache-2.0
"""Measure ``runc create`` of real containers with eight simulated GPUs; needs root and runc.

What is asked for is the same in all cases: the same device nodes and driver files.  The bare cases
get them in a config.json that is ready, without any hook; ours start from what an engine writes.
Medians of interleaved runs, as in ``bench.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import simulated
from benchmarks import cost, image, results
from benchmarks.cost import INTERPRETER, Cost, Times
from benchmarks.results import Form, Row

MACHINE = "a100x8"
ALONE = "runc alone"
NO_GPU = f"{ALONE}, no GPU"
ADDED = "added by 8 GPUs, {}"  # to that: ours, and runc's mounts
NATIVE = "injected by an engine (CDI), its hooks done on the host"
ID = f"nvcr-bench-{os.getpid()}"
# What is done for a container's programs, by the setting: nothing at all is what it is compared to.
TITLES = {
    "none": "no hooks, no links",
    "auto": "prepared on the host",
    "requested": "prepared on the host, the files of compute and utility",
    "always": "one hook for all",
    "toolkit": "the toolkit's hooks",
}
STARTS = {"new container": True, "second start": False}
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ("bounding", "effective", "permitted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A create: by which program, of which config.json, in which environment and folder.

    ``is_new`` says that its root has nothing but what the image has; otherwise it is as the create
    before left it.  It is compared to ``over``: the same without hooks and links, or runc alone.
    """

    name: str
    program: str
    spec: str
    environment: dict[str, str]
    folder: Path
    is_new: bool
    over: str = ""


class Site:
    """The inside of the machine: an image, and for each setting a runtime and a container."""

    def __init__(self, folder: Path, launcher: Path, runc: str) -> None:
        self.folder = folder
        self.launcher = launcher
        self.runc = runc
        image.make(folder / "image")

    def settings(self, hooks: str) -> dict[str, str]:
        """Return the environment of a config.toml that says where hooks run; "none" is without."""
        # Of another length each: by that the launcher knows them apart, see its text.
        config = self.folder / f"{hooks}{'_' * [*TITLES].index(hooks)}.toml"
        lines = [
            f'nvidia-ctk.path = "{self.launcher.parent}/nvidia-cdi-hook"',
            f'[{results.NAME}]\nruntimes = ["{self.runc}"]',
            f'in-container-hooks = "{"auto" if hooks in ("none", "requested") else hooks}"',
            f"[{results.NAME}.modes.jit-cdi]",
            f'driver-capabilities = "{"requested" if hooks == "requested" else "all"}"',
            f"nvcdi-disable-hooks = {json.dumps(['all'] if hooks == 'none' else [])}",
        ]
        config.write_text("".join(f"{line}\n" for line in lines))
        long_ago = time.time_ns() - 10**10
        os.utime(config, ns=(long_ago, long_ago))
        return {"PATH": PATH, "LC_ALL": "C.UTF-8", "NVIDIA_CTK_CONFIG_FILE_PATH": str(config)}

    def pair(self, hooks: str) -> list[Case]:
        """Return the two cases of a setting, on one container of its own."""
        folder = self.folder / hooks
        (folder / "rootfs").mkdir(parents=True, exist_ok=True)
        return [
            Case(
                name=f"{TITLES[hooks]}, {when}",
                program=str(self.launcher),
                spec=json.dumps(container(folder / "rootfs")),
                environment=self.settings(hooks),
                folder=folder,
                is_new=is_new,
                over=f"{TITLES['none']}, {when}",
            )
            for when, is_new in STARTS.items()
        ]

    def bare(self) -> list[Case]:
        """Return the cases of runc alone: with what our runtime would have made of config.json."""
        first, again = self.pair("none")
        self.create(first)
        spec = (first.folder / "config.json").read_text()
        alone = [
            replace(
                case,
                name=f"{ALONE}, {when}",
                program=self.runc,
                spec=spec,
                over="",
                environment={"PATH": PATH},
            )
            for case, when in zip((first, again), STARTS, strict=True)
        ]
        return [*alone, replace(alone[0], name=NO_GPU, spec=first.spec)]

    def native(self) -> list[Case]:
        """Return the cases of an engine that injected everything itself, the toolkit's hooks too."""
        first, again = self.pair("toolkit")
        self.create(first)
        spec = (first.folder / "config.json").read_text()
        assert "nvidia-cdi-hook" in spec
        folder = self.folder / "native"
        (folder / "rootfs").mkdir(parents=True, exist_ok=True)
        return [
            replace(
                case,
                name=f"{NATIVE}, {when}",
                spec=spec.replace(f"{first.folder}/", f"{folder}/"),
                environment=self.settings("auto"),
                folder=folder,
                over=f"{ALONE}, {when}",
            )
            for case, when in zip((first, again), STARTS, strict=True)
        ]

    def create(self, case: Case) -> Cost:
        """Create a container and remove it again; return what the create took."""
        if case.is_new or not os.path.ismount(case.folder / "rootfs"):
            renew(case.folder, self.folder / "image")
        (case.folder / "config.json").write_text(case.spec)
        where = ("--root", f"{self.folder}/state")
        options = ("--bundle", str(case.folder), "--pid-file", f"{self.folder}/pid")
        words = (case.program, *where, "create", *options, ID)
        took = cost.run(cost.Case(name=case.name, words=words), case.environment)
        # The container's first process, which waits for its start, has done much of the work.
        os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)
        took = replace(took, cpu=took.cpu + cost.reap())
        call(self.runc, *where, "delete", "--force", ID)
        return took


def renew(folder: Path, lower: Path) -> None:
    """Mount a new layer over the image, as engines do for each container."""
    root = folder / "rootfs"
    if os.path.ismount(root):
        call("umount", "--lazy", root)
    layers = f"lowerdir={lower}"
    for name in ("upper", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        layers += f",{name}dir={folder}/{name}"
    call("mount", "-t", "overlay", "overlay", "-o", layers, root)


def call(*words: str | Path) -> None:
    """Run a program that is not timed; end with what it said where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")


def container(root: Path) -> dict[str, Any]:
    """Make a config.json that asks for all GPUs, with the mounts that every container has."""
    tmpfs = {"type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
    namespaces = ("pid", "ipc", "uts", "mount", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=all"],
            "cwd": "/",
            "capabilities": {name: ["CAP_KILL"] for name in CAPABILITIES},
        },
        "root": {"path": str(root)},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", **tmpfs},
            {"destination": "/dev/shm", **tmpfs},
        ],
        "linux": {
            "cgroupsPath": f"/{ID}",
            "namespaces": [{"type": kind} for kind in namespaces],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


@contextmanager
def opened(launcher: Path, runc: str) -> Iterator[tuple[Site, list[Case]]]:
    """Return what there is to time on the machine that we are on."""
    cost.adopt()
    with tempfile.TemporaryDirectory(prefix="nvcr-bench-", ignore_cleanup_errors=True) as folder:
        call("mount", "-t", "tmpfs", "tmpfs", folder)
        site = Site(Path(folder), launcher, runc)
        pairs = (case for hooks in TITLES for case in site.pair(hooks))
        yield site, [*site.bare(), *pairs, *site.native()]
        call("umount", "--recursive", "--lazy", folder)


def inside(form: Form) -> None:
    """Measure what there is on the machine that we are on; print the rows as JSON."""
    with opened(form.launcher, results.program("runc")) as (site, cases):
        for case in cases * 3:  # compiles bytecode and the snapshot, and lets its stamps settle
            site.create(case)
            time.sleep(0.06)
        words = (os.path.realpath(sys.executable), "-I", "-S", "-c", "pass")
        start = cost.Case(name=INTERPRETER, words=words)
        times: Times = {name: [] for name in (INTERPRETER, *(case.name for case in cases))}
        for _ in range(form.rounds):
            times[start.name].append(getattr(cost.run(start, {"PATH": PATH}), form.kind))
            for case in cases:
                times[case.name].append(getattr(site.create(case), form.kind))
    print(json.dumps([[case.name, case.over] for case in cases] + [times]))


def missing() -> str:
    """Say why nothing can be timed here; empty where it can."""
    if os.geteuid():
        return "not root: no simulated machines, so no figures of containers"
    for program in ("runc", "busybox"):
        if not results.program(program):
            return f"no {program}, so no figures of containers"
    return ""


def main() -> None:
    """Print the table; exit with 1 if a budget is exceeded."""
    form = results.form(__doc__, rounds=30, short_rounds=10)
    if why := missing():
        print(why)
        return
    if form.inside:
        inside(form)
        return
    words = [sys.executable, *form.words(str(Path(__file__).resolve()), MACHINE)]
    done = simulated.run(MACHINE, words, cwd=results.TREE, timeout=600)
    if done.returncode:
        raise SystemExit(f"{MACHINE}: {done.stderr}")
    *cases, times = json.loads(done.stdout.splitlines()[-1])
    rows = [row(name, over, times, form) for name, over in cases]
    results.finish("containers", [*rows, *added(times, form)], form)


def added(times: Times, form: Form) -> list[Row]:
    """Return the rows of what GPUs add to a container that asks for none."""
    return [
        Row(
            name=ADDED.format(name),
            judged_by=form.judge,
            figure=cost.starts_more(times, name, NO_GPU),
            unit=f"starts over {NO_GPU}",
        )
        for hooks in ("auto", "requested")
        for name in (f"{TITLES[hooks]}, {when}" for when in STARTS)
    ]


def row(name: str, over: str, times: Times, form: Form) -> Row:
    """Return a case's row: over runc alone in interpreter starts, else the ratio to another case."""
    figure: dict[str, Any] = {}
    if over.startswith(ALONE):
        figure = {"figure": cost.starts_more(times, name, over), "unit": f"starts over {ALONE}"}
    elif over:
        figure = {"figure": cost.ratio(times, name, over), "unit": "times"}
    ms = cost.TYPICAL[form.kind](times[name])
    return Row(name=name, judged_by=form.judge, ms=ms, **figure)


if __name__ == "__main__":
    main()
