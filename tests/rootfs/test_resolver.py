# SPDX-License-Identifier: Apache-2.0
"""The confined resolver, against the kernel's own (openat2, RESOLVE_IN_ROOT) as its oracle."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvidia_runtime.rootfs import resolver

from . import images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPENAT2, RESOLVE_IN_ROOT = 437, 0x10
LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = ("a", "b", "c")


def openat2(root: int, path: str) -> int:
    """Open a path in a root as the kernel resolves it; raises `OSError`."""
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    while True:
        descriptor: int = LIBC.syscall(OPENAT2, root, os.fsencode(path), ctypes.byref(how), 24)
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() != errno.EAGAIN:  # something was renamed anywhere, and ".." is there
            raise OSError(ctypes.get_errno(), "openat2")


def oracle(root: resolver.Place, path: str) -> tuple[int, int] | int:
    """Return the device and inode that the kernel finds, or the error's number."""
    try:
        descriptor = openat2(root.descriptor, path)
    except OSError as error:
        return error.errno or 0
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino


def resolved(root: resolver.Place, path: str) -> tuple[int, int] | int:
    """Return the same of ours."""
    try:
        with resolver.walk(root, path) as place:
            status = place.status()
            return status.st_dev, status.st_ino
    except OSError as error:
        return error.errno or 0


@pytest.fixture
def image(tmp_path: Path) -> Iterator[resolver.Place]:
    (tmp_path / "outside").mkdir()
    with resolver.open_root(os.fspath(images.make(tmp_path / "image", {}))) as root:
        yield root


@pytest.fixture(scope="module", autouse=True)
def _kernel_has_openat2() -> None:
    with resolver.open_root("/") as root:
        if oracle(root, "etc") == errno.ENOSYS:
            pytest.skip("this kernel has no openat2")


def grow(root: Path, seed: int) -> None:
    """Make a random tree: folders, files, and links to anywhere, out of the tree too."""
    chance = random.Random(seed)
    folders = [root]
    for _ in range(chance.randint(2, 14)):
        path = chance.choice(folders) / chance.choice(NAMES)
        if path.is_symlink() or path.exists():
            continue
        kind = chance.random()
        if kind < 0.4:
            path.mkdir()
            folders.append(path)
        elif kind < 0.5:
            path.write_text("x")
        else:
            path.symlink_to(words(chance))


def words(chance: random.Random) -> str:
    parts = chance.choices([*NAMES, "..", ".", "", "outside"], k=chance.randint(1, 5))
    return ("/" if chance.random() < 0.4 else "") + ("/".join(parts) or "a")


@settings(max_examples=300, deadline=None, suppress_health_check=[*HealthCheck])
@given(seed=st.integers(0, 1 << 30))
def test_random_trees_resolve_as_the_kernel_does(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("tree")
    (base / "outside").mkdir()
    (base / "image").mkdir()
    grow(base / "image", seed)
    chance = random.Random(seed + 1)
    with resolver.open_root(os.fspath(base / "image")) as root:
        for _ in range(12):
            path = words(chance).strip("/") or "."
            if not path.endswith("/") or path.strip("./"):
                assert resolved(root, path) == oracle(root, path), path


def chain(length: int) -> dict[str, str]:
    return {f"l{n}": f"-> l{n + 1}" for n in range(length)} | {f"l{length}/": ""}


@pytest.mark.parametrize(
    ("tree", "path", "leads_to"),
    [
        pytest.param({"a/b/": ""}, "/a/b", "/a/b", id="plain"),
        pytest.param({"a/": ""}, "//a/./", "/a", id="slashes and dots"),
        pytest.param({"a/": ""}, "../../a", "/a", id="above the root is the root"),
        pytest.param({"a/": "", "l": "-> /a"}, "l", "/a", id="absolute link"),
        pytest.param({"a/": "", "b/l": "-> ../../../a"}, "b/l", "/a", id="relative link out"),
        pytest.param({"a/b/": "", "l": "-> a/b"}, "l/..", "/a", id="dots after a link"),
        pytest.param({"l": "-> /"}, "l/l/l", "/", id="link to the root"),
        pytest.param(chain(40), "l0", "/l40", id="40 links"),
    ],
)
def test_path_stays_in_the_root(
    tree: dict[str, str], path: str, leads_to: str, tmp_path: Path, image: resolver.Place
) -> None:
    images.make(tmp_path / "image", tree)

    with resolver.walk(image, path) as place:
        assert place.path == leads_to
        assert os.path.samestat(place.status(), os.stat(f"{tmp_path}/image{leads_to}"))


@pytest.mark.parametrize(
    ("tree", "path", "number"),
    [
        pytest.param({}, "a", errno.ENOENT, id="missing"),
        pytest.param({"a": "x"}, "a/b", errno.ENOTDIR, id="below a file"),
        pytest.param({"a": "-> a"}, "a", errno.ELOOP, id="loop"),
        pytest.param(chain(41), "l0", errno.ELOOP, id="41 links"),
        pytest.param({"l": "-> ../outside"}, "l", errno.ENOENT, id="link to the host"),
        pytest.param({}, "a/" * 3000, errno.ENAMETOOLONG, id="too long"),
    ],
)
def test_unresolvable(
    tree: dict[str, str], path: str, number: int, tmp_path: Path, image: resolver.Place
) -> None:
    images.make(tmp_path / "image", tree)

    with pytest.raises(OSError) as error:
        resolver.walk(image, path)

    assert error.value.errno == number


def test_links_of_the_kernel_are_texts(image: resolver.Place, tmp_path: Path) -> None:
    """The root of a process in a container's /proc is a link that leads anywhere if followed."""
    images.make(tmp_path / "image", {"l": "-> /proc/self/root/etc"})

    with pytest.raises(FileNotFoundError):
        resolver.walk(image, "l")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_are_made_with_their_mode(umask: int, tmp_path: Path) -> None:
    """In another process, since a umask is the process'."""
    code = (
        "import posix, sys; from nvidia_runtime.rootfs import resolver; posix.umask(int(sys.argv[2]))"
        "; resolver.walk(resolver.open_root(sys.argv[1]), '/a/b', make=True)"
    )
    (tmp_path / "r").mkdir()

    subprocess.run([sys.executable, "-c", code, f"{tmp_path}/r", str(umask)], check=True)

    for name in ("a", "a/b"):
        assert stat.S_IMODE((tmp_path / "r" / name).stat().st_mode) == 0o755


def test_a_link_to_nowhere_is_not_made_somewhere(image: resolver.Place, tmp_path: Path) -> None:
    images.make(tmp_path / "image", {"p": "-> /nowhere"})

    with pytest.raises(FileNotFoundError):
        resolver.walk(image, "p/a", make=True)

    assert sorted(os.listdir(tmp_path / "image")) == ["p"]


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_folders_belong_to_whom_the_one_above_does(image: resolver.Place, tmp_path: Path) -> None:
    """A root of a user namespace looks so from the host."""
    os.chown(tmp_path / "image", 100000, 100000)

    resolver.walk(image, "a/b", make=True)

    assert (tmp_path / "image/a/b").stat().st_uid == 100000


def test_no_descriptor_is_left_open(image: resolver.Place, tmp_path: Path) -> None:
    images.make(tmp_path / "image", {"a/b/c/": "", "l": "-> a/b/../../l"})
    before = os.listdir("/proc/self/fd")
    for path in ("a/b/c", "l", "a/x", "a/b/c/../../..", "x" * 300):
        resolved(image, path)

    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("target", "is_found"),
    [
        pytest.param("/", True, id="short targets"),
        pytest.param("/a/../a/../", True, id="targets as in images"),
        pytest.param("/" + "a/../" * 800, False, id="targets that only cost time"),
    ],
)
def test_steps_of_all_links_are_limited(target: str, is_found: bool, tmp_path: Path) -> None:
    """Each of 40 links may be as long as a path: a third of a second for one file of thousands."""
    links = {f"l{number}": f"-> {target}l{number + 1}" for number in range(30)}
    images.make(tmp_path, {"a/": "", "l30": "x", **links})

    with resolver.open_root(os.fspath(tmp_path)) as root:
        outcome = resolved(root, "/l0")

    assert (outcome == errno.ELOOP) is not is_found
