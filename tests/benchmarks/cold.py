# SPDX-License-Identifier: Apache-2.0
"""Count what a create reads from a disk when nothing of it is in memory, as after a boot; needs root.

Bytes, not time: disks differ.  What a create opens is copied to a file system of our own, whose
readahead is Linux's default, and mounted over the originals on a simulated machine: so nobody else
keeps it in memory.  Then the kernel is told to forget it, a create runs, and the pages that are
back in memory are counted.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median_low

sys.path.insert(0, str(Path(__file__).parents[1]))

import simulated
from benchmarks import cost, machines, results
from benchmarks.cost import Case
from benchmarks.results import Form, Row

from nvidia_runtime.linux import mount

MACHINE = "a100x8"
# What is counted, by the setting of the simulated machine that it is counted with.
AUTO, CDI, COMPILING = (
    "read by a first create, auto mode, 8 GPUs",
    "read by a first create, cdi mode, 8 GPUs",
    "read by a first create that compiles, auto mode, 8 GPUs",
)
# The file system's size, of which only what is written takes room; and Linux's readahead in KB.
SIZE, READAHEAD = 256 << 20, 128
# Made by the engine or by us at most seconds before, and what is no file.
NOT_READ = ("/proc/", "/sys/", "/dev/", "/run/", "/tmp/")
OPENED = re.compile(r'(?:openat|execve)\((?:AT_FDCWD, )?"([^"]+)".* = \d+$')
PAGES = "pages in memory"
OURS, INTERPRETER, LIBRARIES, MODULES = (
    "our programs and modules",
    "the interpreter's own file",
    "libraries that it is linked to",
    "modules of its standard library",
)
LOCALE, SHELL = "its locale", "the shell"

Bytes = dict[str, int]


class Copies:
    """The files that creates open, as copies on a file system of our own, by their real paths."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._at: dict[str, Path] = {}

    def add(self, paths: Iterable[str]) -> None:
        """Copy files, and mount each copy over its original."""
        for path in sorted({os.path.realpath(path) for path in paths} - {*self._at}):
            copy = self.place / f"{len(self._at)}-{os.path.basename(path)}"
            shutil.copy2(path, copy)
            mount.bind(str(copy), path)
            self._at[path] = copy
        os.sync()  # what is not written yet cannot be forgotten

    def forget(self) -> None:
        """Let the kernel forget what is in the copies; end where it does not."""
        for copy in self._at.values():
            descriptor = os.open(copy, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        if kept := [path for path, size in self.present().items() if size]:
            raise SystemExit(f"the kernel keeps {', '.join(kept)}")

    def present(self) -> Bytes:
        """Return how many bytes of each file are in memory."""
        return {path: in_memory(copy) for path, copy in self._at.items()}


def in_memory(path: Path) -> int:
    """Return how many bytes of a file are in memory, in whole pages: mincore(2)."""
    size = path.stat().st_size
    if not size:
        return 0
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as view:
        first = ctypes.c_ubyte.from_buffer(view)
        if mount.LIBC.mincore(ctypes.byref(first), ctypes.c_size_t(size), pages):
            raise OSError(ctypes.get_errno(), "mincore", os.fspath(path))
        del first  # or the view could not be closed
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def opened(case: Case, environment: dict[str, str]) -> list[str]:
    """Return the files on a disk that a create opens or executes, and the loader of programs."""
    if case.before:
        case.before()
    words = ("strace", "-f", "-qq", "-e", "trace=openat,execve", *case.words)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    paths = [match[1] for line in done.stderr.splitlines() if (match := OPENED.search(line))]
    (loader,) = {
        os.path.realpath(line.split()[0])
        for line in subprocess.run(
            ["ldd", "/bin/sh"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if "/ld-" in line
    }
    return [
        path
        for path in (loader, "/bin/sh", *paths)  # which the kernel itself opens
        if os.path.isfile(path) and not path.startswith(NOT_READ)
    ]


def inside(form: Form) -> None:
    """Count on the machine that we are on; print the bytes of each file, by title, as JSON."""
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        machine = machines.Machine(Path(folder), form.launcher)
        cases = (
            (machine.create(AUTO, machine.new_image), machine.use("auto")),
            (machine.create(CDI), machine.site.config("cdi")),
            (machine.create(COMPILING, machine.forget), machine.use("toolkit")),
        )
        copies = Copies(Path(form.inside))
        read: dict[str, Bytes] = {}
        for case, environment in cases:
            settle(case, environment)
            copies.add(opened(case, environment))
            settle(case, environment)
            runs = [count(copies, case, environment) for _ in range(form.rounds)]
            read[case.name] = {path: median_low(run[path] for run in runs) for path in runs[0]}
    print(json.dumps(read))


def settle(case: Case, environment: dict[str, str]) -> None:
    """Let everything be compiled."""
    cost.measure(1, [(case, environment)], "wall")


def count(copies: Copies, case: Case, environment: dict[str, str]) -> Bytes:
    """Return how many bytes of each file a create brings into memory."""
    if case.before:
        case.before()
    copies.forget()
    cost.run(Case(name=case.name, words=case.words), environment)
    return copies.present()


def part(path: str, form: Form) -> str:
    """Say what a file is to a create."""
    name = os.path.basename(path)
    if "/nvidia_runtime/" in path or path.startswith(f"{form.launcher.parent.parent}/"):
        return OURS
    if path == os.path.realpath(form.python):
        return INTERPRETER
    if path == os.path.realpath("/bin/sh"):
        return SHELL
    if "/lib/python3" in path:
        return MODULES
    return LIBRARIES if ".so." in name else LOCALE


def rows(read: dict[str, Bytes], form: Form) -> list[Row]:
    """Return the row of each sum; behind the first those of its parts, the larger first."""
    parts: Bytes = {}
    for path, size in read[AUTO].items():
        name = part(path, form)
        parts[name] = parts.get(name, 0) + size
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    first, *others = [(title, sum(files.values())) for title, files in read.items()]
    sums = [first, *((f"of these, {name}", size) for name, size in ordered), *others]
    return [Row(name=name, judged_by=PAGES, figure=size / 1e6, unit="MB") for name, size in sums]


@contextmanager
def disk() -> Iterator[str]:
    """Mount a new file system of ours, with a file as its disk, where only this process sees it."""
    mount.unshare(mount.CLONE_NEWNS)
    mount.make_private("/")
    with tempfile.TemporaryDirectory(prefix="nvcr-cold-", dir="/var/tmp") as folder:
        image, place = Path(folder, "image"), Path(folder, "disk")
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE)
        call(results.program("mkfs.ext4"), "-q", str(image))
        call("mount", "-o", "loop", str(image), str(place))
        try:
            number = os.stat(place).st_dev
            queue = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/queue"
            Path(queue, "read_ahead_kb").write_text(str(READAHEAD))
            yield str(place)
        finally:
            call("umount", str(place))


def call(*words: str) -> None:
    """Run a program; end with what it said where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")


def missing() -> str:
    """Say why nothing can be counted here; empty where it can."""
    if os.geteuid():
        return "not root: no file system of our own, so nothing is cold"
    for program in ("strace", "mkfs.ext4", "losetup"):
        if not results.program(program):
            return f"no {program}, so nothing is counted cold"
    return "" if results.said("losetup", "--find") else "no loop device, so nothing is cold"


def main() -> None:
    """Print the table; exit with 1 if a budget is exceeded."""
    form = results.form(__doc__, rounds=3, short_rounds=1)
    if why := missing():
        print(why)
        return
    if form.inside:
        inside(form)
        return
    with disk() as place:
        words = [sys.executable, *form.words(str(Path(__file__).resolve()), place)]
        done = simulated.run(MACHINE, words, cwd=results.TREE, timeout=600)
    if done.returncode:
        raise SystemExit(f"{MACHINE}: {done.stderr}")
    results.finish("cold", rows(json.loads(done.stdout.splitlines()[-1]), form), form)


if __name__ == "__main__":
    main()
