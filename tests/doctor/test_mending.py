# SPDX-License-Identifier: Apache-2.0
"""Fixes and their journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nvidia_runtime.doctor import mending
from nvidia_runtime.doctor.finding import WARNING, Code, Finding, Fix
from nvidia_runtime.engines import journal
from nvidia_runtime.errors import NvidiaRuntimeError

CODE = Code("NCT-9000", WARNING, "a title", "a cause", "a remedy")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


def finding(path: Path, *words: str, undo: tuple[str, ...] = ()) -> tuple[Finding, Fix]:
    fix = Fix(words=words or ("write",), files=(str(path),), undo=undo)
    return Finding(code=CODE, what="x", fix=fix), fix


def writer(path: Path, text: str = "new\n") -> Callable[[tuple[str, ...]], None]:
    def run(_words: tuple[str, ...]) -> None:
        path.write_text(text)

    return run


def never(words: tuple[str, ...]) -> None:
    raise AssertionError(f"was run: {words}")


def test_file_is_put_back(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old\n")

    mending.mend(*finding(path), writer(path))
    assert path.read_text() == "new\n"
    assert (state / mending.NAME).stat().st_mode & 0o777 == 0o600

    undone, changed = mending.undo(never)

    assert ([entry.words for entry in undone], changed) == ([("write",)], [])
    assert path.read_text() == "old\n"
    assert not (state / mending.NAME).exists()


def test_last_fix_is_undone_first(tmp_path: Path) -> None:
    path = tmp_path / "x"
    mending.mend(*finding(path), writer(path, "one\n"))
    mending.mend(*finding(path), writer(path, "two\n"))

    mending.undo(never)

    assert not path.exists()


def test_file_that_was_changed_since_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    mending.mend(*finding(path), writer(path))
    path.write_text("of the user\n")

    assert mending.undo(never)[1] == [str(path)]
    assert path.read_text() == "of the user\n"


def test_undo_of_its_own_is_called(tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = []
    mending.mend(*finding(tmp_path / "x", "do", undo=("undo",)), calls.append)

    mending.undo(calls.append)

    assert calls == [("do",), ("undo",)]


def test_what_changed_nothing_is_forgotten(tmp_path: Path) -> None:
    mending.mend(*finding(tmp_path / "x"), lambda _words: None)

    assert mending.read() == []


def fail(_words: tuple[str, ...]) -> None:
    raise NvidiaRuntimeError("no")


def test_call_that_fails_half_way_can_be_undone(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def run(words: tuple[str, ...]) -> None:
        path.write_text("half\n")
        fail(words)

    with pytest.raises(NvidiaRuntimeError):
        mending.mend(*finding(path), run)
    mending.undo(never)

    assert not path.exists()


def test_killed_fix_can_be_undone(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def run(_words: tuple[str, ...]) -> None:
        path.write_text("half\n")
        (entry,) = mending.read()
        assert entry.after == {}
        (tmp_path / "journal").write_bytes(Path(journal.folder(), mending.NAME).read_bytes())

    mending.mend(*finding(path), run)
    # As it was when the process was killed.
    Path(journal.folder(), mending.NAME).write_bytes((tmp_path / "journal").read_bytes())

    mending.undo(never)

    assert not path.exists()


def test_undo_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    mending.mend(*finding(tmp_path / "x", "do", undo=("undo",)), lambda _words: None)

    with pytest.raises(NvidiaRuntimeError):
        mending.undo(fail)
    assert [entry.words for entry in mending.read()] == [("do",)]


def test_nothing_is_done_without_a_journal(tmp_path: Path, state: Path) -> None:
    state.write_text("a file where the folder should be")

    with pytest.raises(NvidiaRuntimeError, match="cannot be"):
        mending.mend(*finding(tmp_path / "x"), never)


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 1, "fixes": [1]}'])
def test_damaged_journal(text: str, state: Path) -> None:
    state.mkdir()
    (state / mending.NAME).write_text(text)

    with pytest.raises(NvidiaRuntimeError, match=f"{state}/{mending.NAME}: it is damaged"):
        mending.undo(never)
    (state / mending.NAME).rename(state / "aside")  # as the hint says
    assert mending.undo(never) == ([], [])


def test_journal_of_others_is_not_believed(state: Path) -> None:
    state.mkdir()
    (state / mending.NAME).write_text('{"version": 1, "fixes": []}')
    (state / mending.NAME).chmod(0o666)

    with pytest.raises(NvidiaRuntimeError, match="others may have written it"):
        mending.undo(never)


def test_same_call_is_made_once(tmp_path: Path) -> None:
    one, two = finding(tmp_path / "x")[0], finding(tmp_path / "x")[0]
    other = finding(tmp_path / "x", "other")[0]
    without = Finding(code=CODE, what="x")

    assert [fix.words for _, fix in mending.wanted([one, without, two, other])] == [
        ("write",),
        ("other",),
    ]
