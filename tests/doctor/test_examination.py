# SPDX-License-Identifier: Apache-2.0
"""Areas in processes of their own: what hangs or crashes costs its own answer."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from nvidia_runtime.doctor import examination, subject
from nvidia_runtime.doctor.finding import (
    SEVERITIES,
    Finding,
    Fine,
    Fix,
    Said,
    Skipped,
    Step,
    packed,
    unpacked,
)


def hang(_subject: subject.Subject) -> Iterator[Said]:
    yield Fine("before")
    yield Step("the hanging thing")
    time.sleep(600)


def die(_subject: subject.Subject) -> Iterator[Said]:
    yield Step("the deadly thing")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(_subject: subject.Subject) -> Iterator[Said]:
    yield Fine("before")
    raise ValueError("no good")


def look(
    monkeypatch: pytest.MonkeyPatch, patience: float, **areas: object
) -> dict[str, list[Said]]:
    monkeypatch.setattr(examination, "checks", areas.__getitem__)
    machine = subject.of("/nowhere/config.toml")
    steps: list[str] = []
    answers = examination.examine(machine, steps.append, patience=patience, areas=tuple(areas))
    assert steps
    return answers


def test_hanging_check_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = look(monkeypatch, 0.5, a=hang, b=lambda _subject: [Fine("well")])

    assert answers["a"][0] == Fine("before")
    assert answers["a"][1:] == [
        Finding(code=examination.HANGS, what="the hanging thing did not end within 0.5 s")
    ]
    assert answers["b"] == [Fine("well")]


def test_hanging_check_leaves_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def tell(_subject: subject.Subject) -> Iterator[Said]:
        (tmp_path / "pid").write_text(str(os.getpid()))
        yield from hang(_subject)

    look(monkeypatch, 0.5, a=tell)

    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def leave(_subject: subject.Subject) -> Iterator[Said]:
    """Leave a process behind that holds what the answers go through."""
    if not os.fork():
        time.sleep(600)
    yield Fine("well")


def test_what_a_check_leaves_behind_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = look(monkeypatch, 0.5, a=leave)

    assert answers["a"] == [Fine("well")]


def test_crashing_check_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = look(monkeypatch, 30, a=die)

    assert answers["a"] == [
        Finding(code=examination.CRASHED, what="while looking at the deadly thing")
    ]


def test_failing_check_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = look(monkeypatch, 30, a=fail)

    assert answers["a"] == [
        Fine("before"),
        Finding(code=examination.CRASHED, what="ValueError: no good"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        Fine("x", is_main=True),
        Skipped("x", "y"),
        Finding(code=examination.HANGS, what="x", where="y", fix=Fix(words=("a",), files=("b",))),
    ],
)
def test_what_is_said_survives_the_pipe(said: Said) -> None:
    assert unpacked(packed(said), examination.codes()) == said


def test_codes_are_whole() -> None:
    listed = [*examination.CODES]
    for area in (*examination.AREAS, "trial"):
        listed += list(import_module(f"{examination.ROOM}.{area}").CODES)

    assert len({code.id for code in listed}) == len(listed)
    for code in listed:
        assert re.fullmatch(r"NCT-\d{4}", code.id)
        assert code.severity in SEVERITIES
        assert all(value.strip() for value in dataclasses.astuple(code))
