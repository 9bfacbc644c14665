# SPDX-License-Identifier: Apache-2.0
"""What is kept of a path before it is mended, and put back."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nvidia_runtime.doctor import keepsake
from nvidia_runtime.errors import NvidiaRuntimeError

NUMBER = os.makedev(1, 3)


def nothing(_path: Path) -> None:
    pass


def file(path: Path) -> None:
    path.write_bytes(b"one\xff\n")
    path.chmod(0o640)


def other_file(path: Path) -> None:
    path.write_text("two\n")


def link(path: Path) -> None:
    path.symlink_to("nowhere")


def node(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o622, NUMBER)
    path.chmod(0o622)


def folder(path: Path) -> None:
    path.mkdir()
    file(path / "a")
    link(path / "b")


STATES = (nothing, file, other_file, link, node, folder)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def change(path: Path, before: Callable[[Path], None], after: Callable[[Path], None]) -> None:
    """Make a path one thing and then another, and put the first one back."""
    before(path)
    old = keepsake.of(str(path))
    clear(path)
    after(path)
    new = keepsake.of(str(path))

    assert keepsake.put_back(str(path), old, new) == []
    assert keepsake.of(str(path)) == old


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_is_put_back(
    before: Callable[[Path], None], after: Callable[[Path], None], tmp_path: Path
) -> None:
    if node in (before, after) and os.geteuid() != 0:
        pytest.skip("not root: device nodes are made")

    change(tmp_path / "x", before, after)


def test_new_folder_goes(tmp_path: Path) -> None:
    change(tmp_path / "x", nothing, folder)


def test_entries_of_a_folder(tmp_path: Path) -> None:
    folder(tmp_path / "x")
    before = keepsake.of(str(tmp_path / "x"))
    (tmp_path / "x/a").unlink()
    (tmp_path / "x/c").symlink_to("b")
    after = keepsake.of(str(tmp_path / "x"))
    (tmp_path / "x/d").write_text("of somebody else")

    assert keepsake.put_back(str(tmp_path / "x"), before, after) == []

    assert (tmp_path / "x/d").read_text() == "of somebody else"
    (tmp_path / "x/d").unlink()
    assert keepsake.of(str(tmp_path / "x")) == before


@pytest.mark.parametrize("later", [other_file, link, nothing])
def test_what_was_changed_since_stays(later: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "x"
    before = keepsake.of(str(path))
    file(path)
    after = keepsake.of(str(path))
    clear(path)
    later(path)
    now = keepsake.of(str(path))

    assert keepsake.put_back(str(path), before, after) == [str(path)]
    assert keepsake.of(str(path)) == now


def test_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, keepsake.MOST_BYTES + 1)

    with pytest.raises(NvidiaRuntimeError, match=f"{path}: has more than 4 MiB"):
        keepsake.of(str(path))


def test_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")

    assert keepsake.of(str(tmp_path / "x"))["kind"] == "other"


def other_folder(path: Path) -> None:
    folder(path)
    path.chmod(0o700)
    (path / "a").unlink()


def test_mode_of_a_folder(tmp_path: Path) -> None:
    change(tmp_path / "x", folder, other_folder)
    clear(tmp_path / "x")
    change(tmp_path / "x", other_folder, folder)


def test_file_in_a_new_folder_that_was_changed_since_stays(tmp_path: Path) -> None:
    """What a fix has made, somebody may have gone on with."""
    path = tmp_path / "x"
    before = keepsake.of(str(path))
    folder(path)
    after = keepsake.of(str(path))
    (path / "a").write_text("changed since")
    (path / "new").write_text("of somebody else")

    assert keepsake.put_back(str(path), before, after) == [f"{path}/a"]
    assert (path / "a").read_text() == "changed since"
    assert (path / "new").read_text() == "of somebody else"
    assert not os.path.lexists(path / "b")


def test_new_folder_in_which_others_have_put_something_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    before = keepsake.of(str(path))
    folder(path)
    after = keepsake.of(str(path))
    (path / "new").write_text("of somebody else")

    assert keepsake.put_back(str(path), before, after) == [str(path)]
    assert [entry.name for entry in path.iterdir()] == ["new"]
