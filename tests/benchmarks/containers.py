# SPDX-License-Identifier: Apache-2.0
"""Time ``runc create`` of real containers with eight simulated GPUs; needs root and runc.

What is asked for is the same in all cases: the same device nodes and driver files.  The bare cases
get them in a config.json that is ready, without any hook; ours start from what an engine writes.
Medians of interleaved runs, as in ``bench.py``; ``--short`` takes fewer rounds and fails beyond
budget x 1.25.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
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
from benchmarks import bench

MACHINE = "a100x8"
# How much longer a create may take with all that is prepared for the container's programs.
BUDGET = 1.25
# How many interpreter starts longer than runc alone, without any hook, where an engine injected.
STARTS_BUDGET = 3.2
ALONE = "runc alone"
NATIVE = "injected by an engine (CDI), its hooks done on the host"
ID = "nvcr-bench"
# What is done for a container's programs, by the setting: nothing at all is what it is compared to.
TITLES = {
    "none": "no hooks, no links",
    "auto": "prepared on the host",
    "always": "one hook for all",
    "toolkit": "the toolkit's hooks",
}
STARTS = {"new container": True, "second start": False}
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ("bounding", "effective", "permitted")
LIBRARIES = "usr/lib/x86_64-linux-gnu"

# A case's name, the one that it is compared to, its budget, and its median in ms.
Row = tuple[str, str, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A create: by which program, of which config.json, in which environment and folder.

    ``is_new`` says that its root has nothing but what the image has; otherwise it is as the create
    before left it.  ``budget`` bounds the ratio to ``over``, the same without hooks and links.
    """

    name: str
    program: str
    spec: str
    environment: dict[str, str]
    folder: Path
    is_new: bool
    over: str = ""
    budget: float = 0.0


class Site:
    """The inside of the machine: an image, and for each setting a runtime and a container."""

    def __init__(self, folder: Path, launcher: Path, runc: str) -> None:
        self.folder = folder
        self.launcher = launcher
        self.runc = runc
        make_image(folder / "image")

    def settings(self, hooks: str) -> dict[str, str]:
        """Return the environment of a config.toml that says where hooks run; "none" is without."""
        # Of another length each: by that the launcher knows them apart, see its text.
        config = self.folder / f"{hooks}{'_' * [*TITLES].index(hooks)}.toml"
        lines = [
            f'nvidia-ctk.path = "{self.launcher.parent}/nvidia-cdi-hook"',
            f'[{bench.NAME}]\nruntimes = ["{self.runc}"]',
            f'in-container-hooks = "{"auto" if hooks == "none" else hooks}"',
            f"[{bench.NAME}.modes.jit-cdi]",
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
        budget = BUDGET if hooks == "auto" else 0.0
        return [
            Case(
                name=f"{TITLES[hooks]}, {when}",
                program=str(self.launcher),
                spec=json.dumps(container(folder / "rootfs")),
                environment=self.settings(hooks),
                folder=folder,
                is_new=is_new,
                over=f"{TITLES['none']}, {when}",
                budget=budget,
            )
            for when, is_new in STARTS.items()
        ]

    def bare(self) -> list[Case]:
        """Return the cases of runc alone: with what our runtime would have made of config.json."""
        first, again = self.pair("none")
        self.create(first)
        spec = (first.folder / "config.json").read_text()
        ours = (first, again)
        return [
            replace(
                case,
                name=f"{ALONE}, {when}",
                program=self.runc,
                spec=spec,
                over="",
                environment={"PATH": PATH},
            )
            for case, when in zip(ours, STARTS, strict=True)
        ]

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

    def create(self, case: Case) -> bench.Cost:
        """Create a container and remove it again; return what the create took."""
        if case.is_new or not os.path.ismount(case.folder / "rootfs"):
            renew(case.folder, self.folder / "image")
        (case.folder / "config.json").write_text(case.spec)
        where = ("--root", f"{self.folder}/state")
        words = (case.program, *where, "create", "--bundle", str(case.folder), ID)
        took = bench.run(bench.Case(name=case.name, words=words), case.environment)
        call(self.runc, *where, "delete", "--force", ID)
        return took


def renew(folder: Path, image: Path) -> None:
    """Mount a new layer over the image, as engines do for each container."""
    root = folder / "rootfs"
    if os.path.ismount(root):
        call("umount", "--lazy", root)
    layers = f"lowerdir={image}"
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


def make_image(root: Path) -> None:
    """Make an image as Debian's are for a loader: this host's cache, and its folders."""
    for name in (LIBRARIES, "etc/ld.so.conf.d", "bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copy("/etc/ld.so.cache", root / "etc/ld.so.cache")
    (root / "etc/debian_version").write_text("12.0\n")
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", root / "bin/sh")


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
    with tempfile.TemporaryDirectory(prefix="nvcr-bench-", ignore_cleanup_errors=True) as folder:
        call("mount", "-t", "tmpfs", "tmpfs", folder)
        site = Site(Path(folder), launcher, runc)
        pairs = (case for hooks in TITLES for case in site.pair(hooks))
        yield site, [*site.bare(), *pairs, *site.native()]
        call("umount", "--recursive", "--lazy", folder)


def inside(launcher: Path, runc: str, rounds: int) -> None:
    """Time what there is to time on the machine that we are on; print the figures as JSON."""
    with opened(launcher, runc) as (site, cases):
        for case in cases * 3:  # compiles bytecode and the snapshot, and lets its stamps settle
            site.create(case)
            time.sleep(0.06)
        times: dict[str, list[float]] = {case.name: [] for case in cases}
        words = (os.path.realpath(sys.executable), "-I", "-S", "-c", "pass")
        start = bench.Case(name="bare interpreter", words=words)
        times[start.name] = []
        for _ in range(rounds):
            times[start.name].append(bench.run(start, {"PATH": PATH}).wall)
            for case in cases:
                times[case.name].append(site.create(case).wall)
    spec = json.loads(cases[0].spec)
    files = [mount for mount in spec["mounts"] if mount.get("type") not in ("proc", "tmpfs")]
    counts = [len(spec["linux"]["devices"]), len(files), statistics.median(times[start.name])]
    rows = [
        [case.name, case.over, case.budget, statistics.median(times[case.name])] for case in cases
    ]
    print(json.dumps([counts, rows]))


def runc() -> str:
    """Return the path of runc, which may lie where only root looks."""
    return shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "runc"


def missing() -> str:
    """Say why nothing can be timed here; empty where it can."""
    if os.geteuid():
        return "not root: no simulated machines, so no figures of containers"
    for program in ("runc", "busybox"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            return f"no {program}, so no figures of containers"
    return ""


def main() -> None:
    """Print the table; exit with 1 if a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer rounds, budgets x 1.25")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--bin", default="", help="folder of the executables")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if why := missing():
        print(why)
        return
    launcher = bench.find_launcher(options.bin)
    rounds = options.rounds or (10 if options.short else 30)
    if options.inside:
        inside(launcher, runc(), rounds)
        return
    words = [sys.executable, str(Path(__file__).resolve()), "--bin", str(launcher.parent)]
    words += ["--inside", "--rounds", str(rounds)]
    done = simulated.run(MACHINE, words, cwd=bench.TREE, timeout=600)
    if done.returncode:
        raise SystemExit(f"{MACHINE}: {done.stderr}")
    counts, rows = json.loads(done.stdout.splitlines()[-1])
    show(counts, rows, rounds, 1.25 if options.short else 1.0)


def show(counts: list[float], rows: list[Row], rounds: int, slack: float) -> None:
    """Print the table."""
    nodes, mounts, start = counts
    print(f"runc create, {nodes} device nodes, {mounts} driver files, medians of {rounds}\n")
    print("| | ms | of the same without hooks and links | budget |\n|---|---|---|---|")
    medians = {name: median for name, _, _, median in rows}
    failed = False
    for name, over, budget, median in rows:
        ratio = median / medians.get(over, median)
        failed = failed or bool(budget and ratio > budget * slack)
        shown = f"{ratio:.2f}" if over and not over.startswith(ALONE) else ""
        print(f"| {name} | {median:.1f} | {shown} | {budget or ''} |")
    print(f"\nOver {ALONE}, in interpreter starts of {start:.1f} ms; budget {STARTS_BUDGET}:\n")
    for name, over, _, median in rows:
        if name.startswith(NATIVE):
            starts = (median - medians[over]) / start
            failed = failed or starts > STARTS_BUDGET * slack
            print(f"- {name}: {starts:.2f}")
    if failed:
        raise SystemExit("a budget is exceeded")


if __name__ == "__main__":
    main()
