# SPDX-License-Identifier: Apache-2.0
"""Files in a hostile folder: what exists is replaced or refused, never written or waited for."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

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

    found = tmp_path / "image/f"
    assert not found.is_symlink()
    assert found.read_text() == "new"
    assert stat.S_IMODE(found.stat().st_mode) == 0o640
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


def test_same_content_is_not_written(folder: resolver.Place, tmp_path: Path) -> None:
    """An overlay would copy, and docker diff would show it."""
    files.replace(folder, "f", b"x")
    before = (tmp_path / "image/f").stat()

    assert not files.replace(folder, "f", b"x")
    assert (tmp_path / "image/f").stat() == before


@pytest.mark.parametrize("make", [files.replace, files.link], ids=["file", "link"])
def test_a_folder_is_no_file(make: object, folder: resolver.Place, tmp_path: Path) -> None:
    (tmp_path / "image/f").mkdir()

    with pytest.raises(IsADirectoryError):
        files.replace(folder, "f", b"x") if make is files.replace else files.link(folder, "f", "x")

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
