# SPDX-License-Identifier: Apache-2.0
"""Colours and progress: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import shim

from . import ctk

ESCAPE = b"\x1b["
BROKEN = '{"ociVersion": 1}'


def on_terminal(
    code: list[str], *, cwd: Path, pipe: str = "", **environment: str
) -> tuple[bytes, bytes]:
    """Run Python with stdout and stderr on a terminal, one of them a pipe if it is named.

    Return what the terminal and the pipe got.
    """
    leader, follower = pty.openpty()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(shim.TREE),
        "XDG_CONFIG_HOME": ctk.NOWHERE,
        "TERM": "xterm",
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, *code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if pipe == "stdout" else follower,
        stderr=subprocess.PIPE if pipe == "stderr" else follower,
        cwd=cwd,
        env=env,
    )
    os.close(follower)
    said = process.communicate()
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # nobody has it open any more
        pass
    os.close(leader)
    return shown, b"".join(filter(None, said))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(BROKEN)
    return tmp_path


VALIDATE = ["-c", ctk.PROGRAM, "spec", "validate"]
UNKNOWN = ["-c", ctk.PROGRAM, "cdi", "lst"]
INJECT = ["-c", ctk.PROGRAM, "cdi", "inject", "--device=a/b=c", "--spec-dir=/nowhere"]


@pytest.mark.parametrize(
    ("code", "begins"),
    [
        (VALIDATE, b"\x1b[31merror:\x1b[0m config.json"),
        (UNKNOWN, b"\x1b[31mnvidia-ctk:\x1b[0m No help topic"),
        (INJECT, b"\x1b[31mnvidia-ctk:\x1b[0m unresolvable"),
    ],
)
def test_colours_on_a_terminal(code: list[str], begins: bytes, place: Path) -> None:
    shown, _ = on_terminal(code, cwd=place)

    assert shown.startswith(begins)


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}], ids=str
)
@pytest.mark.parametrize("code", [VALIDATE, UNKNOWN], ids=lambda code: code[-1])
def test_no_colours(code: list[str], environment: dict[str, str], place: Path) -> None:
    shown, _ = on_terminal(code, cwd=place, **environment)

    assert b"nvidia-ctk: " in shown or b"error: config.json" in shown
    assert ESCAPE not in shown


@pytest.mark.parametrize(
    ("code", "pipe"), [(VALIDATE, "stdout"), (UNKNOWN, "stderr")], ids=["stdout", "stderr"]
)
def test_no_colours_into_a_pipe(code: list[str], pipe: str, place: Path) -> None:
    """Also where the other stream is a terminal."""
    _, piped = on_terminal(code, cwd=place, pipe=pipe)

    assert piped
    assert ESCAPE not in piped


WAIT = """
import sys
from nvidia_runtime.cli import screen
screen.SOON = 0.01
with screen.Progress("counting", quiet={quiet}) as progress:
    progress._done and progress._done.wait(0.2)
    while progress._done and not progress._is_drawn:
        pass
    progress.text = "more"
print("done", file=sys.stderr)
"""


def test_progress_is_a_line_that_goes(tmp_path: Path) -> None:
    shown, _ = on_terminal(["-c", WAIT.format(quiet=False)], cwd=tmp_path)

    assert "\r\x1b[Kcounting … 0 s".encode() in shown
    assert shown.endswith(b"\r\x1b[Kdone\r\n")


@pytest.mark.parametrize("way", ["pipe", "quiet", "dumb"])
def test_no_progress(way: str, tmp_path: Path) -> None:
    code = ["-c", WAIT.format(quiet=way == "quiet")]
    pipe = "stderr" if way == "pipe" else ""
    environment = {"TERM": "dumb"} if way == "dumb" else {}

    shown, piped = on_terminal(code, cwd=tmp_path, pipe=pipe, **environment)

    assert (shown + piped).replace(b"\r", b"") == b"done\n"
