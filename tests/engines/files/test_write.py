# SPDX-License-Identifier: Apache-2.0
"""Engines' files are replaced whole, keep what they are, and all of a change or none is done."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nvidia_runtime.engines import write
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store import files

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


def satisfied() -> str:
    return ""


def put(path: Path, after: str | None) -> None:
    before = path.read_text() if path.exists() else None
    write.carry_out([Change(str(path), before, after)], satisfied)


def test_new_file_and_its_folders(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        missing = write.missing_folders(str(tmp_path / "a" / "b" / "f"))
        put(tmp_path / "a" / "b" / "f", "x")
    finally:
        os.umask(old)

    assert missing == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o755, "b": 0o755, "f": 0o644}


@needs_root
def test_mode_owner_and_attributes_stay(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    os.chown(file, 1234, 4321)
    file.chmod(0o640)
    try:
        os.setxattr(file, "user.note", b"kept")
        os.setxattr(file, "security.selinux", b"system_u:object_r:etc_t:s0\0")
    except OSError:
        pytest.skip("the file system has no extended attributes")

    put(file, "new")

    status = file.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o640)
    assert os.getxattr(file, "user.note") == b"kept"
    assert os.getxattr(file, "security.selinux") == b"system_u:object_r:etc_t:s0\0"


def test_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_text("old")
    (tmp_path / "link").symlink_to("real/f")

    put(tmp_path / "link", "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "f").read_text() == "new"


def test_link_to_nothing_gets_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real/f")

    put(tmp_path / "link", "new")

    assert (tmp_path / "real" / "f").read_text() == "new"


def test_nothing_is_left_beside(tmp_path: Path) -> None:
    put(tmp_path / "f", "one")
    put(tmp_path / "f", "two")
    put(tmp_path / "f", None)

    assert list(tmp_path.iterdir()) == []


def test_objection_brings_everything_back(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    changes = [
        Change(str(tmp_path / "conf.d" / "new"), None, "x"),
        Change(str(tmp_path / "old"), "old", "new"),
    ]
    seen = []

    def objects() -> str:
        seen.append((tmp_path / "old").read_text())
        return "no"

    with pytest.raises(NvidiaRuntimeError) as error:
        write.carry_out(changes, objects)

    assert seen == ["new"]
    assert error.value.what == (
        "the engine objects to the new configuration; the old one is back: no"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_second_file_that_fails_brings_the_first_back(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "one").write_text("old")
    changes = [
        Change(str(tmp_path / "one"), "old", "new"),
        Change(str(tmp_path / "folder"), None, "x"),
    ]

    with pytest.raises(NvidiaRuntimeError) as error:
        write.carry_out(changes, satisfied)

    assert str(error.value).startswith(f"{tmp_path / 'folder'}: is not a regular file")
    assert (tmp_path / "one").read_text() == "old"


def loop(folder: Path) -> Path:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    return folder / "a"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "f"


def folder_in_the_way(folder: Path) -> Path:
    (folder / "f").mkdir()
    return folder / "f"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (loop, "cannot be read: too many levels of symbolic links"),
        (below_a_file, "cannot be read: not a directory"),
        (folder_in_the_way, "is not a regular file"),
    ],
)
def test_what_cannot_be_read(make: object, says: str, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]

    with pytest.raises(NvidiaRuntimeError) as error:
        write.read(str(path))

    assert str(error.value) == f"{path}: {says}"


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(NvidiaRuntimeError, match="is not a regular file"):
        write.read(str(tmp_path / "pipe"))


def test_what_is_no_text_has_a_place(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a = 1\nb = \xff\n")

    with pytest.raises(NvidiaRuntimeError) as error:
        write.read(str(tmp_path / "f"))

    assert str(error.value) == f"{tmp_path / 'f'}:2:5: is not UTF-8"


# In a mount namespace of its own: a full and a read-only file system, and a file that is a mount.
PLACE = """
set -e
mount -t tmpfs -o size=128k none "$1"
printf old > "$1/f"
case $2 in
full) dd if=/dev/zero of="$1/fill" bs=4k 2>/dev/null || true ;;
read-only) mount -o remount,ro "$1" ;;
mounted) printf old > "$1/other"; mount --bind "$1/other" "$1/f" ;;
esac
"$3" -c "$4" "$1/f" || echo "exit code $?"
cat "$1/f"; ls -A "$1"
"""
CHANGE = """
import sys
from nvidia_runtime.engines import write
from nvidia_runtime.errors import NvidiaRuntimeError
try:
    write.carry_out([write.Change(sys.argv[1], "old", "new" * 9999)], lambda: "")
except NvidiaRuntimeError as error:
    print(error.what, error.hint, sep="; ")
"""


@needs_root
@pytest.mark.parametrize(
    ("kind", "says", "left"),
    [
        ("full", "no space left on device; make room", "f\nfill\n"),
        ("read-only", "read-only file system; the file system is read-only", "f\n"),
        ("mounted", "device or resource busy; the file is a mount point", "f\nother\n"),
    ],
)
def test_file_system_refuses(kind: str, says: str, left: str, tmp_path: Path) -> None:
    words = ["unshare", "-m", "sh", "-c", PLACE, "sh", str(tmp_path), kind, sys.executable, CHANGE]
    environment = {**os.environ, "PYTHONPATH": str(Path(write.__file__).parents[2])}

    got = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)

    if "unshare" in got.stderr or "mount" in got.stderr:
        pytest.skip("needs mount namespaces")
    line, _, rest = got.stdout.partition("\n")
    assert line.startswith(f"cannot be written: {says}")
    assert rest == f"old{left}"


def test_second_run_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PATIENCE", 0.1)
    with write.locked(str(tmp_path / "f")):
        second = write.locked(str(tmp_path / "f"))
        with pytest.raises(NvidiaRuntimeError, match="another nvidia-ctk is changing"):
            second.__enter__()

    with write.locked(str(tmp_path / "f")):
        pass


def test_lock_without_a_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the folder of the configuration is locked, or the first one above it that exists."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", str(tmp_path / "none" / "none"))
    monkeypatch.delitem(os.environ, "XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(write, "PATIENCE", 0.0)

    with write.locked(str(tmp_path / "new" / "f")):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_interruption_brings_everything_back(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")

    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write.carry_out([Change(str(tmp_path / "f"), "old", "new")], interrupted)

    assert (tmp_path / "f").read_text() == "old"


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    (tmp_path / ".f.nvidia-ctk").write_text("half")

    put(tmp_path / "f", "new")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"f": "new"}


def test_what_another_process_wrote_at_this_moment_stays(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("theirs")

    with pytest.raises(NvidiaRuntimeError) as error:
        write.carry_out([Change(str(tmp_path / "f"), "old", "new")], satisfied)

    assert "another process" in error.value.what
    assert (tmp_path / "f").read_text() == "theirs"
