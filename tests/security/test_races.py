# SPDX-License-Identifier: Apache-2.0
"""T02 and T11: another process replaces folders by links to the host while we work in them.

Each is first won against a resolver that checks a path and then uses it (CVE-2024-0132,
CVE-2026-24260); the short form takes half a second for each, the long one 100,000 tries.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import shim
import waiting

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.prepare import carry_out
from nvidia_runtime.prepare.work import Work
from nvidia_runtime.rootfs import (
    application_profile,
    cuda_compat,
    links,
    loader,
    loader_config,
    modes,
    resolver,
)
from nvidia_runtime.selftest import attack, stage, suite, ways

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Act = Callable[[resolver.Place, int], object]

L = attack.LIBRARIES
BIN = os.fspath(shim.BIN.resolve())
RUNC = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
SWAPPER = """
import ctypes, os, sys
one, other = map(os.fsencode, sys.argv[1:3])
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
def swap():
    if libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE):
        sys.exit(ctypes.get_errno())
swap()
print(flush=True)
while os.getppid() == int(sys.argv[3]):
    for _ in range(1000):
        swap()
"""
IMAGE = attack.Attack(
    name="T11",
    title="",
    why="",
    calls=attack.USUAL,
    tree=f"""\
folder 755 {L}
file 644 /etc/debian_version text:12.0\\n
folder 755 /etc/ld.so.conf.d
folder 755 /etc/nvidia/nvidia-application-profiles-rc.d
file 644 /etc/passwd text:root:x:0:0\\n
file 644 /usr/local/cuda/compat/libcuda.so.1.1 library:libcuda.so.1
link - /evil-etc {{canary}}/etc
link - /evil-lib {{canary}}/lib
link - /evil {{canary}}
""",
)


def make_link(root: resolver.Place, number: int) -> object:
    return links.make_all(root, [(f"/usr/lib/sub/l{number % 9}", f"target{number}")], [])


def write_file(root: resolver.Place, number: int) -> object:
    return loader_config.write(root, loader_config.OURS, [f"/folder{number}"])


def update_cache(root: resolver.Place, number: int) -> object:
    return loader.update(root, [L, f"/opt/{number % 5}"], [])


def change_mode(root: resolver.Place, number: int) -> object:
    return modes.change(root, "/etc/passwd", 0o600 if number % 2 else 0o644)


def write_profile(root: resolver.Place, number: int) -> object:
    return application_profile.write(root, [number % 60])


def decide(root: resolver.Place, _: int) -> object:
    """The image's own library is older than the driver, the host's would be newer."""
    assert cuda_compat.decide(root, "550.1.1").folder == ""
    return True


def prepare(root: resolver.Place, number: int) -> object:
    work = Work([], os.readlink(root.by_descriptor()))
    work.links = [(f"{L}/libcuda.so", f"libcuda.so.{number}")]
    work.folders = [L]
    work.libraries = {(L, "libcuda.so.1"): "/nonexistent"}
    work.compat = ("550.1.1", "", cuda_compat.FOLDER)
    return carry_out.carry_out(work)


# What is done, and which folder of the image is exchanged with which link.
RACES = [
    pytest.param(make_link, "usr/lib", "evil-lib", id="links"),
    pytest.param(write_file, "etc", "evil-etc", id="files"),
    pytest.param(write_file, "etc/ld.so.conf.d", "evil-etc", id="files in a folder"),
    pytest.param(update_cache, "etc", "evil-etc", id="cache"),
    pytest.param(change_mode, "etc", "evil", id="modes"),
    pytest.param(write_profile, "etc/nvidia", "evil-etc", id="profile"),
    pytest.param(decide, "usr/local/cuda/compat", "evil-lib", id="compatibility"),
    pytest.param(prepare, "etc", "evil-etc", id="preparation, settings"),
    pytest.param(prepare, "usr/lib", "evil-lib", id="preparation, libraries"),
]


@pytest.fixture
def scene() -> Iterator[stage.Stage]:
    with tempfile.TemporaryDirectory(prefix="nvcr-race-") as folder:
        Path(folder).chmod(0o755)
        yield stage.Stage(IMAGE, Path(folder) / "s")


@contextmanager
def swapping(scene: stage.Stage, one: str, other: str) -> Iterator[None]:
    """Keep exchanging two names of the image, as fast as can be."""
    words = [sys.executable, "-c", SWAPPER, f"{scene.root}/{one}", f"{scene.root}/{other}"]
    with subprocess.Popen([*words, str(os.getpid())], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            if not process.stdout.readline():
                pytest.skip(f"names cannot be exchanged here: {os.strerror(process.wait())}")
            yield
            assert process.poll() is None, "the swapper has ended"
        finally:
            process.kill()


def run(act: Act, scene: stage.Stage, tries: int, seconds: float) -> tuple[int, int]:
    """Act again and again; say how often it could be done, and how often not."""
    done = failed = 0
    end = time.monotonic() + seconds
    with resolver.open_root(os.fspath(scene.root)) as root:
        while done + failed < tries and time.monotonic() < end:
            try:
                act(root, done + failed)
                done += 1
            except (OSError, ValueError, NvidiaRuntimeError):
                failed += 1
    return done, failed


@pytest.mark.parametrize(("act", "one", "other"), RACES)
def test_t11_race_is_lost(act: Act, one: str, other: str, scene: stage.Stage) -> None:
    with swapping(scene, one, other):
        done, failed = run(act, scene, 1_000_000, 0.5)

    assert done > 0
    assert done + failed > 20
    assert scene.complaints() == []


@pytest.mark.long
@pytest.mark.parametrize(("act", "one", "other"), RACES)
def test_t11_race_is_lost_100_000_times(act: Act, one: str, other: str, scene: stage.Stage) -> None:
    with swapping(scene, one, other):
        done, failed = run(act, scene, 100_000, 900)

    assert done + failed == 100_000
    if act not in (decide, change_mode):  # which take a folder that is not there for an answer
        assert min(done, failed) > 100
    assert scene.complaints() == []


def naive_write(scene: stage.Stage, number: int) -> None:
    """Check where a path leads, and then use the path: what the first fixes did."""
    path = f"{scene.root}/etc/naive{number}"
    if os.path.realpath(path).startswith(os.path.realpath(scene.root)):
        with open(path, "w") as file:
            file.write("x")
        os.unlink(path)


def naive_link(scene: stage.Stage, number: int) -> None:
    path = f"{scene.root}/etc/naive{number}"
    if os.path.realpath(path).startswith(os.path.realpath(scene.root)):
        os.symlink("x", path)


def naive_mode(scene: stage.Stage, number: int) -> None:
    path = f"{scene.root}/etc/ld.so.conf"
    if os.path.realpath(path).startswith(os.path.realpath(scene.root)):
        os.chmod(path, 0o600 + number % 8)


@pytest.mark.parametrize("act", [naive_write, naive_link, naive_mode])
def test_t11_race_is_won_against_who_checks_first(
    act: Callable[[stage.Stage, int], None], scene: stage.Stage
) -> None:
    end = time.monotonic() + waiting.PATIENCE
    with swapping(scene, "etc", "evil-etc"):
        for number in range(1_000_000):
            try:
                act(scene, number)
            except OSError:
                continue
            if number % 50 == 0 and scene.canary.harm():
                break
            assert time.monotonic() < end, "the swapper never wins: the test shows nothing"

    assert scene.canary.harm()


@pytest.mark.parametrize(
    "tries", [pytest.param(3, id="short"), pytest.param(300, id="long", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("hooks", ["auto", "always"])
@pytest.mark.parametrize(("one", "other"), [("etc", "evil-etc"), ("usr/lib", "evil-lib")])
def test_t02_containers_are_created_while_the_image_changes(
    one: str, other: str, hooks: str, tries: int, scene: stage.Stage
) -> None:
    if reason := suite.refusal(BIN, RUNC):
        pytest.skip(reason)
    settings = scene.folder / "cdi"
    with swapping(scene, one, other):
        for _ in range(tries):
            ended = ways.by_create(BIN, RUNC, hooks, scene)
            assert ended.code in (0, 1), ended.said
            shutil.rmtree(settings)

    assert scene.complaints() == []


# The owner of a folder in which we work puts a file, or a folder, of root's over each new name.
THEIRS = 1000
THIEF = """
import os, sys
folder, parent = sys.argv[1], int(sys.argv[2])
os.chdir(folder)
before = set(os.listdir())
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
print(flush=True)
while os.getppid() == parent:
    for name in set(os.listdir()) - before:
        for prize in "file", "folder":
            try:
                os.rename(prize, name)
            except OSError:
                pass
"""
THEFT = attack.Attack(
    name="T11",
    title="",
    why="",
    calls=(
        ("create-symlinks", "--link", "t::/theirs/l"),
        ("create-symlinks", "--link", "t::/theirs/d/l"),
        ("update-ldcache", "--folder", "/theirs/nv"),
    ),
    mounts=("/theirs/nv/libcuda.so.999.1",),
    tree="""\
file 600 /theirs/file text:secret
file 600 /theirs/folder/secret text:secret
folder 755 /etc
""",
)


class Treasure:
    """A file and a folder of root's in a folder of another user's, who is a process.

    Both are held open, so that their inodes stay theirs: what the thief puts in the place of a link
    may be replaced, and its number would be that of the next link.
    """

    def __init__(self, scene: stage.Stage, thief: int) -> None:
        self.place = scene.root / "theirs"
        self.thief = thief
        self.held = {name: self._hold(name) for name in ("file", "folder")}

    def _hold(self, name: str) -> int:
        return os.open(self.place / name, os.O_PATH | os.O_NOFOLLOW)

    def close(self) -> None:
        for descriptor in self.held.values():
            os.close(descriptor)

    def is_taken(self) -> bool:
        """Look whose they are now, and put everything back in its place."""
        os.kill(self.thief, signal.SIGSTOP)
        os.waitpid(self.thief, os.WUNTRACED)
        states = {name: os.fstat(descriptor) for name, descriptor in self.held.items()}
        names = {status.st_ino: name for name, status in states.items()}
        for path in sorted(self.place.iterdir(), key=lambda path: path.lstat().st_ino in names):
            if name := names.get(path.lstat().st_ino):
                path.rename(self.place / name)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        file = self.place / "file"
        if not file.exists():
            file.touch(0o600)
            os.close(self.held["file"])
            self.held["file"] = self._hold("file")
        os.kill(self.thief, signal.SIGCONT)
        return any(status.st_uid != 0 or status.st_mode & 0o077 for status in states.values())


@contextmanager
def thief(scene: stage.Stage) -> Iterator[Treasure]:
    folder = scene.root / "theirs"
    (folder / "folder").chmod(0o700)
    os.chown(folder, THEIRS, THEIRS)
    words = [sys.executable, "-c", THIEF, f"{folder}", str(os.getpid())]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            with closing(Treasure(scene, process.pid)) as treasure:
                yield treasure
        finally:
            process.kill()


@pytest.fixture
def theft() -> Iterator[stage.Stage]:
    with tempfile.TemporaryDirectory(prefix="nvcr-race-") as folder:
        Path(folder).chmod(0o755)
        yield stage.Stage(THEFT, Path(folder) / "s")


def naive_owner_of_a_link(scene: stage.Stage) -> None:
    path = f"{scene.root}/theirs/naive"
    os.symlink("t", path)
    os.chown(path, THEIRS, THEIRS, follow_symlinks=False)


def naive_owner_of_a_folder(scene: stage.Stage) -> None:
    path = f"{scene.root}/theirs/naive"
    os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, THEIRS, THEIRS)
        os.fchmod(descriptor, 0o755)
    finally:
        os.close(descriptor)


@shim.needs_root
@pytest.mark.parametrize("act", [naive_owner_of_a_link, naive_owner_of_a_folder])
def test_t11_things_of_root_are_taken_from_who_gives_by_name(
    act: Callable[[stage.Stage], None], theft: stage.Stage
) -> None:
    end = time.monotonic() + waiting.PATIENCE
    with thief(theft) as treasure:
        while not treasure.is_taken():
            with suppress(OSError):
                act(theft)
            assert time.monotonic() < end, "the thief never wins: the test shows nothing"


@shim.needs_root
@pytest.mark.parametrize(
    "tries",
    [pytest.param(300, id="short"), pytest.param(20_000, id="long", marks=pytest.mark.long)],
)
@pytest.mark.parametrize("path", ["/theirs/l", "/theirs/d/l"])
def test_t11_things_of_root_stay_roots(path: str, tries: int, theft: stage.Stage) -> None:
    with thief(theft) as treasure, resolver.open_root(f"{theft.root}") as root:
        for _ in range(tries):
            with suppress(OSError, NvidiaRuntimeError):
                links.make_all(root, [(path, "t")], [])
            assert not treasure.is_taken()


@shim.needs_root
@pytest.mark.parametrize(
    "tries", [pytest.param(3, id="short"), pytest.param(300, id="long", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("hooks", ["auto", "always"])
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_t11_things_of_root_stay_roots_when_containers_are_created(
    runtime: str, hooks: str, tries: int, theft: stage.Stage
) -> None:
    program = shutil.which(runtime, path="/usr/sbin:/usr/bin:/sbin:/bin") or ""
    if reason := suite.refusal(BIN, program):
        pytest.skip(reason)
    with thief(theft) as treasure:
        for _ in range(tries):
            ended = ways.by_create(BIN, program, hooks, theft)
            assert ended.code in (0, 1), ended.said
            shutil.rmtree(theft.folder / "cdi")
            assert not treasure.is_taken()
