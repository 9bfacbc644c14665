# SPDX-License-Identifier: Apache-2.0
"""Parts of an image are exchanged for links to the host while we work in it.

The same attack on a naive writer, which joins paths, shows that it would be noticed.
"""

from __future__ import annotations

import ctypes
import os
import posix
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import waiting
from shim import needs_root

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import application_profile, cuda_compat, links, loader, modes, resolver

from . import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RENAMEAT2 = {"x86_64": 316, "aarch64": 276}.get(os.uname().machine, 0)
# Exchange two names (renameat2, RENAME_EXCHANGE) as fast as it goes, until the parent ends.
SWAP = """
import ctypes, os, sys
libc, number, parent = ctypes.CDLL(None), int(sys.argv[1]), os.getppid()
pairs = [tuple(map(os.fsencode, pair.split(":"))) for pair in sys.argv[2:]]
print(flush=True)
while os.getppid() == parent:
    for one, other in pairs * 50:
        libc.syscall(number, -100, one, -100, other, 2)
"""
LIBRARIES: dict[str, str | bytes] = {
    "nv/libcuda.so.580.1": images.library("libcuda.so.1"),
    "usr/local/cuda/compat/libcuda.so.590.1": images.library("libcuda.so.1"),
}
ROUNDS = 400
# What failed, as it may: it was in the way of the exchange.
FAILED: list[object] = []


@contextmanager
def swapping(root: Path, *names: str) -> Iterator[None]:
    """Exchange folders of an image for links to the folder outside, in another process."""
    for name in names:
        (root / f"{name}-evil").symlink_to(root.parent / "outside" / os.path.basename(name))
    pairs = [f"{root}/{name}:{root}/{name}-evil" for name in names]
    words = [sys.executable, "-c", SWAP, str(RENAMEAT2), *pairs]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def ours(root: Path) -> None:
    """Do all that writes into an image; each may fail on its own."""
    with resolver.open_root(f"{root}") as place:
        for call in (
            lambda: links.make_all(place, [("/etc/sub/l", "a")], []),
            lambda: loader.update(place, ["/nv"], []),
            lambda: modes.change(place, "/etc/sub", 0o750),
            lambda: cuda_compat.decide(place, "580.1"),
        ):
            try:
                call()
            except (NvidiaRuntimeError, OSError):
                FAILED.append(call)


def naive(root: Path) -> None:
    """Check that the path is in the root, then use it: CVE-2024-0132, CVE-2026-24260."""
    try:
        if os.path.realpath(f"{root}/etc").startswith(f"{root}/"):
            with open(f"{root}/etc/made", "w") as file:
                file.write("x")
    except OSError:  # exchanged at this very moment
        FAILED.append(naive)


def attack(write: Callable[[Path], None], tmp_path: Path, rounds: int) -> bool:
    """Write often while it is swapped; say whether the folder outside was touched."""
    outside = {"etc/canary": "of the host", "nv/canary": "of the host", "etc/sub/": ""}
    images.make(tmp_path / "outside", outside)
    root = images.make(tmp_path / "image", {"etc/sub/": "", **LIBRARIES})
    before = images.tree(tmp_path / "outside")
    end = time.monotonic() + waiting.PATIENCE
    with swapping(root, "etc", "nv"):
        for _ in range(rounds):
            write(root)
            if time.monotonic() > end or images.tree(tmp_path / "outside") != before:
                break
    return images.tree(tmp_path / "outside") != before


needs_exchange = pytest.mark.skipif(
    not RENAMEAT2 or ctypes.sizeof(ctypes.c_void_p) != 8, reason="needs renameat2 of a known number"
)


@needs_exchange
def test_naive_writer_is_caught(tmp_path: Path) -> None:
    assert attack(naive, tmp_path, 100 * ROUNDS)


@needs_exchange
def test_host_is_not_touched(tmp_path: Path) -> None:
    assert not attack(ours, tmp_path, ROUNDS)


@needs_exchange
@pytest.mark.long
def test_host_is_never_touched(tmp_path: Path) -> None:
    for number in range(25):
        assert not attack(ours, tmp_path / str(number), 4000)


def test_writers_at_once_leave_a_whole_cache(tmp_path: Path) -> None:
    """Containers that share a root (podman --rootfs) may be started at once."""
    root = images.make(tmp_path / "image", LIBRARIES)
    code = (
        "import sys; from nvidia_runtime.rootfs import loader, resolver\n"
        "root = resolver.open_root(sys.argv[1])\n"
        "for _ in range(60): loader.update(root, [sys.argv[2]], [])"
    )
    images.make(root, {"other/libx.so.1.2": images.library("libx.so.1")})
    processes = [
        subprocess.Popen([sys.executable, "-c", code, f"{root}", folder])
        for folder in ("/nv", "/other", "/nv")
    ]
    while any(process.poll() is None for process in processes):
        if (root / "etc/ld.so.cache").exists():
            images.rows(root)

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [name for name in os.listdir(root / "etc") if name[:1] == "."] == []
    assert {row[0] for row in images.rows(root)} & {"libcuda.so.1", "libx.so.1"}


THEIRS = 1000
WATCHED = ("symlink", "mkdir", "open", "rename", "chown", "fchown", "chmod", "fchmod", "unlink")
PRIZES: dict[str, str | bytes] = {"file": "secret", "folder/secret": "secret", "link": "-> secret"}


class Thief:
    """The owner of a folder, who puts a thing of root's over every new name in it.

    Right behind one of our system calls, so that no race has to be won.
    """

    def __init__(self, folder: Path, prize: str, calls: int) -> None:
        self.folder = folder
        self.prize = folder / prize
        self.calls = calls
        self.before = set(os.listdir(folder))
        self.inode = self.prize.lstat().st_ino

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in WATCHED:
            monkeypatch.setattr(posix, name, self._behind(getattr(posix, name)))

    def _behind(self, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*words: object, **flags: object) -> object:
            result = call(*words, **flags)
            self.calls -= 1
            if not self.calls:
                for name in set(os.listdir(self.folder)) - self.before:
                    with suppress(OSError):
                        os.rename(self.prize, self.folder / name)
            return result

        return wrapped

    def state(self) -> list[tuple[int, int, int]]:
        """Return owner and mode of the thing of root's, wherever it is now."""
        states = [path.lstat() for path in self.folder.rglob("*")]
        return [(s.st_uid, s.st_gid, s.st_mode) for s in states if s.st_ino == self.inode]


WRITERS: dict[str, Callable[[resolver.Place], object]] = {
    "link": lambda root: links.make_all(root, [("/etc/l", "target")], []),
    "link in the place of one": lambda root: links.make_all(root, [("/etc/old", "target")], []),
    "folders": lambda root: links.make_all(root, [("/etc/a/b/l", "target")], []),
    "cache and settings": lambda root: loader.update(root, ["/nv"], []),
    "profile": lambda root: application_profile.write(root, [0]),
}


@needs_root
@pytest.mark.parametrize("prize", ["file", "folder", "link"])
@pytest.mark.parametrize("writer", WRITERS)
def test_owner_of_a_folder_gets_nothing_of_roots(
    writer: str, prize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind each call in turn; what we make is given to the folder's owner, nothing else is."""
    for calls in range(1, 200):
        image = images.make(tmp_path / str(calls), LIBRARIES | {"etc/old": "-> x"})
        etc = images.make(image / "etc", PRIZES)
        (etc / "folder").chmod(0o700)
        os.chown(etc, THEIRS, THEIRS)
        thief = Thief(etc, prize, calls)
        before = thief.state()
        with resolver.open_root(f"{image}") as root, monkeypatch.context() as patch:
            thief.watch(patch)
            with suppress(OSError, NvidiaRuntimeError):
                WRITERS[writer](root)
        assert thief.state() == before
        if thief.calls > 0:
            break

    assert thief.calls > 0, "there are more calls than were tried"
    assert calls > 3
