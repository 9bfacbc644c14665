# SPDX-License-Identifier: Apache-2.0
"""Files of ours, replaced whole or not at all."""

from __future__ import annotations

import os
import posix
import time
from pathlib import Path

import pytest
import shim

from nvidia_runtime.store import files


def test_first_failure_is_the_one_that_is_told(tmp_path: Path) -> None:
    """Also where the temporary file has vanished with its folder."""
    file = tmp_path / "file"
    file.write_text("old")

    def fail(_descriptor: int) -> None:
        os.unlink(tmp_path / f".file.{os.getpid()}")
        raise PermissionError("first")

    with pytest.raises(PermissionError, match="first"):
        files.replace(str(file), b"new", finish=fail)

    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("after", [30, 90], ids=["young", "old"])
def test_leftover_of_another_process_goes_when_it_is_old(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A young one may still be written."""
    left = tmp_path / ".file.4000001"
    others = [tmp_path / name for name in (".file.swp", ".file.4000001.bak", ".other.4000001")]
    (tmp_path / ".file.1").mkdir()
    for path in (left, *others):
        path.write_text("half")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + after)

    files.replace(str(tmp_path / "file"), b"new")

    assert left.exists() == (after < 60)
    assert all(path.exists() for path in others)
    assert (tmp_path / ".file.1").is_dir()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_fifo_is_not_waited_for(mode: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file", mode)

    with pytest.raises(ValueError, match="not ours alone"):
        files.read_own(str(tmp_path / "file"))


def test_two_processes_of_one_number(tmp_path: Path) -> None:
    """As in two PID namespaces with one state folder: nobody renames what another one writes."""
    path = tmp_path / "file"
    files.replace(str(path), b"old")

    def another(_: int) -> None:
        (tmp_path / f".file.{os.getpid()}").unlink()
        (tmp_path / f".file.{os.getpid()}").write_bytes(b"ha")

    with pytest.raises(FileExistsError):
        files.replace(str(path), b"new", finish=another)

    assert path.read_bytes() == b"old"
    assert (tmp_path / f".file.{os.getpid()}").read_bytes() == b"ha"


@shim.needs_root
@pytest.mark.parametrize(
    ("owner", "is_used"), [(0, True), (shim.NOBODY, False)], ids=["ours", "another user's"]
)
def test_state_in_a_folder_of_another_user(
    owner: int, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns the folder above ours can put another one in its place at any time."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", f"{tmp_path}/none/{shim.NAME}")
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", os.fsencode(tmp_path))
    os.chown(tmp_path, owner, owner)

    folder = files.state_folder(make=True)

    assert folder == (f"{tmp_path}/{shim.NAME}" if is_used else "")
    assert os.listdir(tmp_path) == [shim.NAME] * is_used


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_state_folder_has_its_mode_from_the_start(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not changed by its name."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", f"{tmp_path}/{shim.NAME}")
    monkeypatch.delattr(posix, "chmod")
    before = os.umask(umask)
    try:
        assert files.state_folder(make=True) == f"{tmp_path}/{shim.NAME}"
    finally:
        assert os.umask(before) == umask

    assert (tmp_path / shim.NAME).stat().st_mode & 0o7777 == 0o755
