# SPDX-License-Identifier: Apache-2.0
"""What is a container's, an image's or a volume's is opened only if it is a regular file.

To open a device is to act (a watchdog, a module), a FIFO or a lease makes us wait, and a name may
mean something else by the second time.
"""

from __future__ import annotations

import os
import posix
import re
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import shim
from shim import needs_root

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.prepare import carry_out
from nvidia_runtime.prepare.work import Work
from nvidia_runtime.rootfs import cuda_compat, loader, modes, resolver
from nvidia_runtime.store import libraries

from . import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NV = "/usr/lib/nv"
# What the kernel says of ourselves.
OWN = ("/proc/self/mountinfo", "/proc/self/fdinfo/")


class Opens:
    """The calls of open(2), and what of them breaks the rules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.breaches: list[str] = []
        self.files: set[tuple[int, int]] = set()
        self._open = posix.open
        monkeypatch.setattr(posix, "open", self.open)

    def open(
        self, path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        descriptor = self._open(path, flags, mode, dir_fd=dir_fd)
        name = os.fsdecode(path)
        is_first = bool(flags & posix.O_PATH)
        is_new = flags & (posix.O_EXCL | posix.O_NOFOLLOW) == posix.O_EXCL | posix.O_NOFOLLOW
        if is_first and dir_fd is not None and not flags & posix.O_NOFOLLOW:
            self.breaches.append(f"{name} is followed")
        if is_first or is_new or name.startswith(OWN):
            return descriptor
        status = os.fstat(descriptor)
        self.files.add((status.st_dev, status.st_ino))
        is_ours = name == "." or re.fullmatch(r"/proc/self/fd/\d+", name)
        is_plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if not (is_ours and is_plain and flags & posix.O_NONBLOCK):
            self.breaches.append(f"{name} {flags:#o} {stat.filemode(status.st_mode)}")
        return descriptor


def put(path: Path, kind: str) -> None:
    """Make something that is not a regular file with a library in it, but for the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/cwd/{os.path.relpath(path)}")
    elif kind == "link to a fifo":
        os.mkfifo(path.with_name("fifo"))
        path.symlink_to("fifo")
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    else:
        path.write_bytes(images.library("libother.so.1"))


KINDS = [
    *("fifo", "socket", "link to a fifo", "folder", "empty", "file"),
    pytest.param("device", marks=needs_root),
]
FILES = (
    *("etc/ld.so.cache", "etc/ld.so.conf", "etc/ld.so.conf.d/a.conf", "etc/alpine-release"),
    *("etc/ld.so.conf.d/00-compat-x.conf", "etc/ld.so.conf.d/00-nvcr.conf", "etc/debian_version"),
    *("etc/ld-musl-x86_64.path", "usr/lib/nv/libother.so.1", "usr/lib/nv/libcuda.so.1"),
    "usr/local/cuda/compat/libcuda.so.590.1",
)


def work_on(root: Path) -> None:
    """Do all that reads from an image; each may fail on its own."""
    with resolver.open_root(f"{root}") as place:
        acts: list[Callable[[], object]] = [
            lambda: loader.update(place, [NV, "/usr/local/cuda/compat"], []),
            lambda: cuda_compat.decide(place, "580.1"),
            lambda: modes.change(place, "/etc/ld.so.conf", 0o640),
        ]
        for act in acts:
            with suppress(NvidiaRuntimeError, OSError):
                act()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_an_image(
    kind: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = images.make(tmp_path / "image", {"usr/lib/nv/libcuda.so.580.1": images.library("l.so")})
    put(root / file, kind)
    opens = Opens(monkeypatch)

    work_on(root)

    assert opens.breaches == []


@pytest.mark.parametrize("kind", KINDS)
def test_libraries_of_a_volume(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own mount in the driver's folder: -v /any:/usr/lib/nv/libother.so.1."""
    monkeypatch.chdir(tmp_path)
    root = images.make(tmp_path / "image", {"etc/": ""})
    source = tmp_path / "volume"
    put(source, kind)
    work = Work([], f"{root}")
    work.folders = [NV]
    work.libraries = {(NV, "libother.so.1"): f"{source}"}
    opens = Opens(monkeypatch)

    carry_out.carry_out(work)

    assert opens.breaches == []
    rows = [row[0] for row in images.rows(root)]
    assert rows == (["libother.so.1"] if kind == "file" else [])


@pytest.mark.parametrize(
    "path", ["/proc/self/status", "/proc/kmsg", "/proc/kcore", "/sys/kernel/uevent_seqnum"]
)
def test_files_of_the_kernel_are_not_opened(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are regular files, and to read kmsg takes from the host's log what others wait for."""
    status = os.stat(path) if os.path.exists(path) else pytest.skip(f"no {path} here")
    opens = Opens(monkeypatch)

    assert libraries.Facts("").identify(path) is None

    assert (status.st_dev, status.st_ino) not in opens.files


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """Hold a lease of a file, as a container may of its own, and never give it back."""
    code = (
        "import fcntl, os, signal, sys, time; signal.signal(signal.SIGIO, signal.SIG_IGN);"
        "file = os.open(sys.argv[1], os.O_RDWR); fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK);"
        "print(flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, f"{path}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            if not holder.stdout.readline():
                pytest.skip("the file system has no leases")
            yield
        finally:
            holder.kill()


@pytest.mark.parametrize("file", ["etc/ld.so.cache", "etc/ld.so.conf", "usr/lib/nv/libx.so.1"])
def test_leased_file_is_unreadable(file: str, tmp_path: Path) -> None:
    """To wait for it takes 45 seconds (/proc/sys/fs/lease-break-time), for each of 256 files."""
    tree: dict[str, str | bytes] = {"etc/ld.so.conf": f"{NV}\n"}
    tree["usr/lib/nv/libx.so.1"] = images.library("libx.so.1")
    root = images.make(tmp_path / "image", tree)
    images.run_ldconfig(root)
    warnings: list[str] = []

    with leased(root / file), resolver.open_root(f"{root}") as place:
        loader.update(place, [NV], warnings)

    is_named = (root / "etc/ld.so.conf.d/00-nvcr.conf").exists()
    said = ["temporarily unavailable" in warning for warning in warnings]
    assert (said, is_named) == ([True] * ("cache" in file), "conf" in file)


def test_preparation_has_a_limit_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes the time; here the alarm comes soon."""
    before = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr("nvidia_runtime.prepare.verbs.SECONDS", 0.05)
    work = Work([], f"{tmp_path}")
    work.links = [(f"/etc/l{number}", "t") for number in range(100_000)]

    with pytest.raises(NvidiaRuntimeError, match="could not be prepared within"):
        carry_out.carry_out(work)

    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_owners_and_modes_are_set_by_descriptors() -> None:
    """Nothing is touched by its name after it was made or looked at."""
    for room in ("rootfs", "prepare"):
        for file in sorted((shim.TREE / "nvidia_runtime" / room).glob("*.py")):
            calls = re.findall(r"posix\.(?:l|f)?ch(?:own|mod)\(([^,\n]*)", file.read_text())
            by_name = [
                call
                for call in calls
                if "/proc/self/fd/" not in call
                and not call.endswith(("descriptor", ".by_descriptor()"))
            ]
            assert by_name == [], file
