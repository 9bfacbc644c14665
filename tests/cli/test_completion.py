# SPDX-License-Identifier: Apache-2.0
"""Completion, as the shells ask for it and in the shells themselves."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import cdi_spec

import nvidia_runtime
from nvidia_runtime.cli import complete

from . import ctk

TREE = Path(nvidia_runtime.__file__).parents[1]
SCRIPTS = TREE / "nvidia_runtime/cli/completions"
PATIENCE = 60  # seconds, of which a shell needs one


def words(*line: str, **environment: str) -> list[str]:
    """Return the words that may stand in the place of the last one."""
    got = ctk.run("__complete", *line, **environment)
    assert (got.code, got.err) == (0, "")
    return [row.partition("\t")[0] for row in got.lines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["ru"], ["runtime"]),
        (["cdi", "tr"], ["transform"]),
        (["cdi", "transform", ""], ["root"]),
        (["cdi", "generate", "--dri"], ["--driver-root"]),
        (["cdi", "list", "--qu"], ["--quiet"]),
        (["cdi", "list", "--format", ""], ["text", "json"]),
        (["cdi", "generate", "--mode=man"], ["--mode=management"]),
        (["cdi", "generate", "--feature-flag=a,enable-m"], ["--feature-flag=a,enable-mps-pipes"]),
        (["runtime", "status", "--runtime", "p"], ["podman"]),
        (["simulate", "a100x8mig5"], ["a100x8mig56"]),
        (["simulate", "t4x1", "--", "l"], [":files"]),
        (["simulate", "t4x1", ""], []),
        (["config", "--set", "nvidia-ctk.p"], ["nvidia-ctk.path="]),
        (
            ["config", "--set", "nvidia-container-runtime.image-requests=d"],
            ["nvidia-container-runtime.image-requests=deny"],
        ),
        (["config", "explain", "feat"], ["features"]),
        (["cdi", "generate", "--output", ""], [":files"]),
        (["cdi", "transform", "root", "--from=/v"], [":folders"]),
        (["cdi", "validate", "a", ""], [":files"]),
        (["hook", "noo"], ["noop"]),
        (["hook", "noop", "--then", "chm"], ["chmod"]),
        (["hook", "create-symlinks", "--l"], ["--link"]),
        (["completion", "z"], ["zsh"]),
        (["--quiet", "cdi", "wa"], ["watch"]),
        (["bogus", ""], []),
        (["cdi", "list", "--bogus", ""], []),
        ([], [row.partition("\t")[0] for row in complete.candidates([])]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_words(line: list[str], expected: list[str]) -> None:
    assert [word for word in words(*line) if not word.startswith("features.")] == expected


def test_devices_and_containers_of_this_host(tmp_path: Path) -> None:
    ctk.write(tmp_path / "cdi/gpus.json", cdi_spec())
    dirs = json.dumps([str(tmp_path / "cdi")])
    text = f"[nvidia-container-runtime.modes.cdi]\nspec-dirs = {dirs}\n"
    ctk.write(tmp_path / "nvidia-container-runtime/config.toml", text)

    assert words("cdi", "inject", "--device", "nv", XDG_CONFIG_HOME=str(tmp_path)) == [
        "nvidia.com/gpu=0"
    ]


@pytest.mark.parametrize("shell", complete.SHELLS)
def test_scripts_are_printed(shell: str) -> None:
    got = ctk.run("completion", shell)

    assert (got.code, got.out) == (0, (SCRIPTS / complete.SHELLS[shell]).read_text())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["completion"], "nvidia-ctk: no shell is named\nhint: it is one of bash, zsh, fish\n"),
        (
            ["completion", "x"],
            "nvidia-ctk: unknown shell 'x'\nhint: it is one of bash, zsh, fish\n",
        ),
    ],
)
def test_shell_that_is_not_there(line: list[str], says: str) -> None:
    got = ctk.run(*line)

    assert (got.code, got.out, got.err) == (1, "", says)


LINES = [
    ("nvidia-ctk runt", "nvidia-ctk runtime"),
    ("nvidia-ctk cdi gen", "nvidia-ctk cdi generate"),
    ("nvidia-ctk cdi generate --no-a", "nvidia-ctk cdi generate --no-all-device"),
    ("nvidia-ctk cdi generate --mode=gdr", "nvidia-ctk cdi generate --mode=gdrcopy"),
    ("nvidia-ctk runtime configure --runtime pod", "nvidia-ctk runtime configure --runtime podman"),
    (
        "nvidia-ctk config --set nvidia-container-runtime.requirements=en",
        "nvidia-ctk config --set nvidia-container-runtime.requirements=enforce",
    ),
    ("nvidia-ctk cdi validate only-o", "nvidia-ctk cdi validate only-one.json"),
    ("nvidia-ctk cdi generate --output=only-o", "nvidia-ctk cdi generate --output=only-one.json"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file, and a bin with nvidia-ctk."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "only-one.json").touch()
    (folder / "bin").mkdir()
    program = folder / "bin/nvidia-ctk"
    code = f"import sys; sys.path.insert(0, {str(TREE)!r}); {ctk.PROGRAM}"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    program.chmod(0o755)
    return folder


def environment(place: Path) -> dict[str, str]:
    return {
        "PATH": f"{place}/bin:{os.environ['PATH']}",
        "HOME": str(place),
        "XDG_CONFIG_HOME": str(place),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, argv: list[str], place: Path) -> None:
        leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=place,
            env=environment(place),
            start_new_session=True,
        )
        os.close(follower)
        self.leader = leader

    def say(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def until(self, mark: str) -> str:
        """Return the output up to a mark at the beginning of a line."""
        said = b""
        end = time.monotonic() + PATIENCE
        while True:
            before, sign, line = said.replace(b"\r", b"").rpartition(f"\n{mark}".encode())
            if sign and (mark[-1] == "\n" or b"\n" in line):
                return (before + sign + line.partition(b"\n")[0]).decode()
            assert time.monotonic() < end, said
            if select.select([self.leader], [], [], 1)[0]:
                said += os.read(self.leader, 4096)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


def completed(argv: list[str], setup: str, place: Path, lines: list[str]) -> list[str]:
    """Type lines into a shell, each with a tab, and return what became of them."""
    terminal = Terminal(argv, place)
    try:
        terminal.say(f"{setup}; echo; echo READ''Y\n")
        terminal.until("READY\n")
        results = []
        for number, line in enumerate(lines):
            # Ctrl-A goes to the beginning of the line, which is then printed instead of run.
            terminal.say(f"{line}\t\x01echo GOT{number}: \n")
            said = terminal.until(f"GOT{number}: ")
            results.append(said.rpartition(f"\nGOT{number}: ")[2])
    finally:
        terminal.close()
    return results


@pytest.mark.parametrize("way", ["bash", "zsh", "zsh that looks in fpath"])
def test_line_in_a_shell(way: str, place: Path) -> None:
    shell = way.split(maxsplit=1)[0]
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    script = SCRIPTS / complete.SHELLS[shell]
    argv, setup = ["bash", "--noprofile", "--norc", "-i"], f"source {script}"
    if shell == "zsh":
        argv, start = ["zsh", "-f", "-i"], "PS1=; bindkey -e; autoload -U compinit; compinit -u -D"
        setup = f"{start}; source {script}"
        if way != shell:
            setup = f"fpath=({SCRIPTS} $fpath); {start}"

    got = completed(argv, setup, place, [line for line, _ in LINES])

    assert [line.strip() for line in got] == [line for _, line in LINES]


def test_line_in_fish(place: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("needs fish")
    script = SCRIPTS / complete.SHELLS["fish"]
    for line, expected in LINES:
        run = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete --do-complete '{line}'"],
            capture_output=True,
            text=True,
            check=True,
            cwd=place,
            env=environment(place),
        )
        words = [row.partition("\t")[0] for row in run.stdout.splitlines()]

        assert (words, run.stderr) == ([expected.split()[-1]], "")
