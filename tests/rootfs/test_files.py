# SPDX-License-Identifier: Apache-2.0
"""Files in a hostile folder: what exists is replaced or refused, never written or waited for."""

from __future__ import annotations

import errno
import os
import posix
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import shim

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files, resolver

from . import images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "of the host"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[resolver.Place]:
    images.make(tmp_path, {"image/": "", "canary": HOST})
    with resolver.open_root(f"{tmp_path}/image") as root:
        yield root


def put(tmp_path: Path, kind: str) -> None:
    """Put something into the file's place."""
    path = tmp_path / "image/f"
    if kind == "link":
        path.symlink_to(tmp_path / "canary")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "new")
    elif kind == "hard link":
        path.hardlink_to(tmp_path / "canary")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "unreadable":
        path.write_text("x")
        path.chmod(0)
    elif kind == "file":
        path.write_text("old")


KINDS = ["nothing", "file", "link", "dangling link", "hard link", "fifo", "unreadable"]


@pytest.mark.parametrize("kind", KINDS)
def test_replace(kind: str, folder: resolver.Place, tmp_path: Path) -> None:
    put(tmp_path, kind)

    assert files.replace(folder, "f", b"new", 0o640)

    file = tmp_path / "image/f"
    assert not file.is_symlink()
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert (tmp_path / "canary").read_text() == HOST
    assert not (tmp_path / "new").exists()
    assert os.listdir(tmp_path / "image") == ["f"]


@pytest.mark.parametrize("kind", KINDS)
def test_link(kind: str, folder: resolver.Place, tmp_path: Path) -> None:
    put(tmp_path, kind)

    assert files.link(folder, "f", "target")
    assert not files.link(folder, "f", "target")

    assert os.readlink(tmp_path / "image/f") == "target"
    assert (tmp_path / "canary").read_text() == HOST
    assert os.listdir(tmp_path / "image") == ["f"]


NODE = {"type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "gid": 5}


@shim.needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_node(kind: str, folder: resolver.Place, tmp_path: Path) -> None:
    put(tmp_path, kind)

    assert files.node(folder, "f", NODE)
    assert not files.node(folder, "f", NODE)

    status = (tmp_path / "image/f").lstat()
    assert stat.S_ISCHR(status.st_mode)
    assert (status.st_rdev, status.st_gid) == (os.makedev(1, 3), 5)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert (tmp_path / "canary").read_text() == HOST
    assert os.listdir(tmp_path / "image") == ["f"]


def test_same_content_is_not_written(folder: resolver.Place, tmp_path: Path) -> None:
    """An overlay would copy, and docker diff would show it."""
    files.replace(folder, "f", b"x")
    before = (tmp_path / "image/f").stat()

    assert not files.replace(folder, "f", b"x")
    assert (tmp_path / "image/f").stat() == before


MAKING: dict[str, Callable[[resolver.Place], bool]] = {
    "file": lambda folder: files.replace(folder, "f", b"x"),
    "link": lambda folder: files.link(folder, "f", "x"),
    "node": lambda folder: files.node(folder, "f", NODE),
}


@pytest.mark.parametrize("kind", ["file", "link", pytest.param("node", marks=shim.needs_root)])
def test_a_folder_is_no_file(kind: str, folder: resolver.Place, tmp_path: Path) -> None:
    (tmp_path / "image/f").mkdir()

    with pytest.raises(IsADirectoryError):
        MAKING[kind](folder)

    assert os.listdir(tmp_path / "image") == ["f"]


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("nothing", errno.ENOENT),
        ("link", errno.EINVAL),
        ("dangling link", errno.EINVAL),
        ("fifo", errno.EINVAL),
    ],
)
def test_only_regular_files_are_read(
    kind: str, number: int, folder: resolver.Place, tmp_path: Path
) -> None:
    put(tmp_path, kind)

    with pytest.raises(OSError) as error:
        files.read(folder, "f", 100)

    assert error.value.errno == number


def test_large_file_is_not_read(folder: resolver.Place, tmp_path: Path) -> None:
    with (tmp_path / "image/f").open("wb") as file:
        file.truncate(10 << 30)

    with pytest.raises(OSError) as error:
        files.read(folder, "f", 100)

    assert error.value.errno == errno.EFBIG


def test_longest_names_are_written(folder: resolver.Place, tmp_path: Path) -> None:
    assert files.replace(folder, "f" * 255, b"x")
    assert files.link(folder, "l" * 255, "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_owner_is_the_folders(folder: resolver.Place, tmp_path: Path) -> None:
    os.chown(tmp_path / "image", 100000, 100001)

    files.replace(folder, "f", b"x")
    files.link(folder, "l", "x")

    for name in ("f", "l"):
        status = (tmp_path / "image" / name).lstat()
        assert (status.st_uid, status.st_gid) == (100000, 100001)


def test_folder_of_the_hosts_stays_as_it_is(folder: resolver.Place, tmp_path: Path) -> None:
    """Mounted at its own place, as by `-v /etc:/etc`: here the path is a part of the host's."""
    place = resolver.Place(folder.descriptor, f"{tmp_path}/image")

    assert not files.replace(place, "f", b"x")
    assert not files.link(place, "l", "x")
    with pytest.raises(OSError, match="the host's own"):
        files.node(place, "n", NODE)
    with resolver.open_root("/") as root, pytest.raises(OSError, match="the host's own"):
        resolver.walk(root, f"{tmp_path}/image/new", make=True)

    assert os.listdir(tmp_path / "image") == []


@pytest.mark.parametrize(("age", "is_left"), [(2 * files.OLD, False), (0, True)])
def test_what_killed_processes_left_is_taken_away(
    age: int, is_left: bool, folder: resolver.Place, tmp_path: Path
) -> None:
    """But not what another process may be writing now, nor anything of other names."""
    now = time.time()
    for name in (".f.0123456789ab", ".f.conf.0123456789ab", ".f.short", ".g.0123456789ab"):
        (tmp_path / "image" / name).write_text("half")
        os.utime(tmp_path / "image" / name, (now - age, now - age))

    files.replace(folder, "f", b"x")

    left = {".f.conf.0123456789ab", ".f.short", ".g.0123456789ab", "f"}
    assert set(os.listdir(tmp_path / "image")) == left | ({".f.0123456789ab"} if is_left else set())


def test_names_of_a_folder_are_limited(
    folder: resolver.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million names were 285 MB."""
    images.make(tmp_path / "image", {f"f{number}": "" for number in range(20)})
    monkeypatch.setattr(resolver, "MOST_NAMES", 5)

    assert len(folder.names()) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("mode", [0o2775, 0o775])
def test_ownership_that_cannot_be_given_is_no_condition(mode: int, tmp_path: Path) -> None:
    """A rootless engine's storage on a disk of a group in which it has no part."""
    image = images.make(tmp_path / "image", {"etc/": ""})
    for path in (image, image / "etc"):
        os.chown(path, 1000, 2000)
        path.chmod(mode)
    config = images.make(tmp_path / "bundle", {"config.json": "{}"}) / "config.json"
    for path in (config, config.parent):
        os.chown(path, 1000, 2000)
    code = (
        "import os, sys; os.setgroups([]); os.setgid(1000); os.setuid(1000)\n"
        "from nvidia_runtime.oci import bundle\n"
        "from nvidia_runtime.rootfs import files, links, resolver\n"
        "root = resolver.open_root(sys.argv[1])\n"
        "links.make_all(root, [('/etc/new/l', 't')], [])\n"
        "files.replace(resolver.walk(root, '/etc'), 'f', b'x')\n"
        "bundle.write(bundle.read(sys.argv[2]))\n"
    )
    for above in (tmp_path, *list(tmp_path.parents)[:3]):
        above.chmod(above.stat().st_mode | 0o055)

    words = [sys.executable, "-c", code, f"{image}", f"{config.parent}"]
    subprocess.run(words, check=True, cwd=shim.TREE, env={"PYTHONPATH": f"{shim.TREE}"})

    assert os.readlink(image / "etc/new/l") == "t"
    assert (image / "etc/f").read_text() == "x"


def make_device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("make", [os.mkfifo, make_device])
def test_only_what_is_regular_is_opened(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a link that leads there, too."""
    make(tmp_path / "file")
    opened: list[int] = []
    real = posix.open

    def note(path: str, flags: int) -> int:
        opened.append(flags)
        return real(path, flags)

    monkeypatch.setattr(posix, "open", note)

    with pytest.raises(NvidiaRuntimeError, match="file: is not a regular file"):
        files.open_hosts(f"{tmp_path}/file")

    assert opened == [posix.O_PATH]
