# SPDX-License-Identifier: Apache-2.0
"""What we changed is remembered, safely and within bounds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nvidia_runtime.engines import journal
from nvidia_runtime.engines.journal import Entry
from nvidia_runtime.errors import NvidiaRuntimeError

ENTRY = Entry(engine="docker", before="{}", after='{"a": 1}', runtimes=("nvidia",))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


def test_entry_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.touch()

    journal.write({str(path): ENTRY})

    assert journal.entries() == {str(path): ENTRY}
    journal.write({str(path): None})
    assert journal.entries() == {}


def test_nobody_else_may_read_it(state: Path, tmp_path: Path) -> None:
    """A configuration may hold the passwords of registries."""
    journal.write({"/x": ENTRY})
    journal.back_up("/etc/containerd/config.toml", "password")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.rglob("*")}
    assert set(modes.values()) == {0o600, 0o700}


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    journal.write({str(tmp_path / "gone"): ENTRY})
    (tmp_path / "there").touch()

    journal.write({str(tmp_path / "there"): ENTRY})

    assert list(journal.entries()) == [str(tmp_path / "there")]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"files": []}', '{"files": {"/x": {}}}', '{"files": {"/x": 1}}', "\ud800"],
)
def test_damaged_journal_is_none(text: str, state: Path) -> None:
    state.mkdir()
    (state / journal.NAME).write_text(text, errors="surrogatepass")

    assert journal.entries() == {}


def test_journal_that_others_can_write_is_none(state: Path, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    journal.write({str(tmp_path / "f"): ENTRY})
    (state / journal.NAME).chmod(0o666)

    assert journal.entries() == {}


def test_journal_that_cannot_be_read_is_an_error(state: Path) -> None:
    """What is done without it cannot be taken back exactly; a disk may be well again."""
    state.mkdir()
    (state / journal.NAME).symlink_to(journal.NAME)

    for ask in (journal.entries, journal.problem, lambda: journal.write({})):
        with pytest.raises(NvidiaRuntimeError) as error:
            ask()
        assert str(error.value).startswith(f"{state}/{journal.NAME}: cannot be read: ")
        assert error.value.hint == "move it away to go on without what it says"


def test_folder_in_its_place_is_put_aside(state: Path) -> None:
    (state / journal.NAME).mkdir(parents=True)

    journal.write({})

    assert (state / (journal.NAME + journal.ASIDE)).is_dir()
    assert journal.problem() == ""


def test_backups_are_bounded(state: Path) -> None:
    for number in range(8):
        journal.back_up("/etc/f", str(number))
    journal.back_up("/etc/f.x", "other")

    assert [Path(path).read_text() for path in journal.backups("/etc/f")] == list("34567")
    assert len(list((state / journal.BACKUPS).iterdir())) == 6


def test_backups_are_bounded_in_all(state: Path) -> None:
    for number in range(journal.MOST_BACKUPS_IN_ALL + 5):
        journal.back_up(f"/tmp/{number}/f", "x")

    assert len(list((state / journal.BACKUPS).iterdir())) == journal.MOST_BACKUPS_IN_ALL
    assert journal.backups("/tmp/0/f") == []


def test_user_has_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/u/.state")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert journal.folder() == "/home/u/.state/nvidia-container-runtime"


@pytest.mark.parametrize("text", ["{", '{"version": 2, "files": {}}'], ids=["damaged", "newer"])
def test_unusable_journal_is_said_and_put_aside(text: str, state: Path, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    state.mkdir()
    (state / journal.NAME).write_text(text)
    assert journal.problem()

    journal.write({str(tmp_path / "f"): ENTRY})

    assert (state / (journal.NAME + journal.ASIDE)).read_text() == text
    assert journal.entries() == {str(tmp_path / "f"): ENTRY}
    assert journal.problem() == ""


def test_journal_behind_a_link(state: Path, tmp_path: Path) -> None:
    """As on systems that keep what lasts in another folder."""
    (tmp_path / "f").touch()
    state.mkdir()
    (state / journal.NAME).symlink_to(tmp_path / "elsewhere")

    journal.write({str(tmp_path / "f"): ENTRY})

    assert (state / journal.NAME).is_symlink()
    assert journal.entries() == {str(tmp_path / "f"): ENTRY}
