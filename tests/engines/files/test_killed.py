# SPDX-License-Identifier: Apache-2.0
"""A run that is killed before any of its changes to the disk, or meets a full one there.

A child does the work and counts what it is about to do to files; at a given number it ends as by
kill -9, or the call fails.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nvidia_runtime.engines import apply, effect, undo
from nvidia_runtime.engines.engine import Intent
from nvidia_runtime.engines.supported import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable

V2 = 'plugins."io.containerd.grpc.v1.cri"'
NEED_ROOM = frozenset({"os.rename", "os.mkdir"})
CHANGES = NEED_ROOM | {"os.remove", "os.rmdir", "os.chmod"}
MOST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An engine's files before we come, and where we write."""

    engine: str
    files: dict[str, str]
    config: str
    drop_in: str = ""

    def intent(self, folder: Path) -> Intent:
        return Intent(
            name="nvidia",
            program="/usr/bin/nvidia-container-runtime",
            config=str(folder / self.config),
            drop_in=str(folder / self.drop_in) if self.drop_in else "",
            is_default=True,
        )


CASES = {
    "docker": Case(engine="docker", files={"daemon.json": '{"mtu": 1400}'}, config="daemon.json"),
    "containerd": Case(
        engine="containerd",
        files={"containerd/config.toml": f"version = 2 # mine\n[{V2}.cni]\nbin_dir = 'x'\n"},
        config="containerd/config.toml",
        drop_in="containerd/conf.d/99-nvidia.toml",
    ),
    "containerd without a file": Case(
        engine="containerd",
        files={},
        config="etc/containerd/config.toml",
        drop_in="etc/containerd/conf.d/99-nvidia.toml",
    ),
    "crio": Case(
        engine="crio",
        files={"crio.conf": "# nothing\n"},
        config="crio.conf",
        drop_in="crio.conf.d/99-nvidia.toml",
    ),
    "podman": Case(
        engine="podman", files={"containers.conf": "[engine]\n"}, config="containers.conf"
    ),
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/nowhere")  # no engine that judges
    return tmp_path / "state"


def configure(case: Case, folder: Path) -> None:
    engine, intent = ENGINES[case.engine], case.intent(folder)
    apply.configure(engine, intent, effect.planned(engine, intent), said.append)


def unconfigure(case: Case, folder: Path) -> None:
    engine, intent = ENGINES[case.engine], case.intent(folder)
    apply.unconfigure(engine, intent, undo.plan(engine, intent), said.append)


said: list[str] = []


def in_a_child(
    work: Callable[[], None],
    number: int,
    end: Callable[[], None],
    events: frozenset[str] = CHANGES,
) -> int:
    """Do something in a child, and end it in front of the change of this number; return how."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            is_writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            if event in events or is_writing:
                count += 1
                if count == number:
                    end()

        sys.addaudithook(hook)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 (a child of pytest must not go on as pytest)
        traceback.print_exc()
    finally:
        os._exit(code)
    return 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lay_out(case: Case, folder: Path) -> None:
    for name, text in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def tree(folder: Path) -> dict[str, str]:
    """Return the files and folders of an engine, with their texts."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("verb", [configure, unconfigure], ids=["configure", "unconfigure"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_killed_can_be_taken_back(
    case: Case, verb: Callable[[Case, Path], None], tmp_path: Path
) -> None:
    for number in range(1, MOST):
        folder = tmp_path / str(number)
        folder.mkdir()
        lay_out(case, folder)
        before = tree(folder)
        if verb is unconfigure:
            configure(case, folder)

        code = in_a_child(partial(verb, case, folder), number, die)
        if code == 0:
            break

        assert code == -signal.SIGKILL
        unconfigure(case, folder)
        assert tree(folder) == before, number
        unconfigure(case, folder)
        assert tree(folder) == before, number
    assert 4 < number < MOST - 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_killed_can_be_done_again(case: Case, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    lay_out(case, whole)
    before = tree(whole)
    configure(case, whole)
    for number in range(1, MOST):
        folder = tmp_path / str(number)
        folder.mkdir()
        lay_out(case, folder)

        code = in_a_child(partial(configure, case, folder), number, die)
        if code == 0:
            break

        configure(case, folder)
        after = {name: text.replace(str(folder), str(whole)) for name, text in tree(folder).items()}
        assert after == tree(whole), number
        unconfigure(case, folder)
        assert tree(folder) == before, number


@pytest.mark.parametrize("verb", [configure, unconfigure], ids=["configure", "unconfigure"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_full_disk_leaves_the_files_as_they_were_or_done(
    case: Case, verb: Callable[[Case, Path], None], tmp_path: Path
) -> None:
    """What fails changes nothing; what cannot be remembered is told, and no failure."""

    def fail() -> None:
        raise OSError(28, os.strerror(28))

    for number in range(1, MOST):
        folder = tmp_path / str(number)
        folder.mkdir()
        lay_out(case, folder)
        untouched = tree(folder)
        configure(case, folder)
        configured = tree(folder)
        if verb is configure:
            unconfigure(case, folder)
        before, done = (untouched, configured) if verb is configure else (configured, untouched)

        code = in_a_child(partial(verb, case, folder), number, fail, NEED_ROOM)

        assert tree(folder) == (done if code == 0 else before), number
