# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk itself: its flags, its exit codes, and its errors about unknown words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from builders import cdi_spec

import nvidia_runtime

from . import ctk


def test_version_is_said_as_scripts_know_it() -> None:
    """They compare the first version that is printed with one of the toolkit's."""
    got = ctk.run("--version")

    assert re.search(r"\d+\.\d+\.\d+", got.out)[0] >= "1.17.8"  # type: ignore[index]
    assert got.out == (
        f"NVIDIA Container Toolkit CLI version {nvidia_runtime.TOOLKIT}\n"
        f"implementation: nvidia-container-runtime {nvidia_runtime.__version__}\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["-h"],
        ["help"],
        ["cdi"],
        ["help", "cdi"],
        ["cdi", "transform"],
        ["cdi", "h"],
    ],
    ids=" ".join,
)
def test_help_is_data(words: list[str]) -> None:
    got = ctk.run(*words)

    assert (got.code, got.err) == (0, "")
    assert "Usage:" in got.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["foo"], 3, "nvidia-ctk: No help topic for 'foo'\nhint: 'nvidia-ctk --help' lists the commands\n"),
        (
            ["cdi", "lst"],
            3,
            "nvidia-ctk: No help topic for 'lst'\n"
            "hint: did you mean 'nvidia-ctk cdi list'? 'nvidia-ctk cdi --help' lists the commands\n",
        ),
        (["foo", "--bogus"], 3, "nvidia-ctk: No help topic for 'foo'\nhint: 'nvidia-ctk --help' lists the commands\n"),
        (["--bogus"], 1, "nvidia-ctk: unknown flag --bogus\nhint: 'nvidia-ctk --help' lists its flags and arguments\n"),
        (
            ["cdi", "list", "--spec-dri=/x"],
            1,
            "nvidia-ctk: unknown flag --spec-dri\n"
            "hint: did you mean --spec-dir? 'nvidia-ctk cdi list --help' lists its flags and arguments\n",
        ),
        (["--debug=maybe"], 1, "nvidia-ctk: --debug: must be true or false, not 'maybe'\nhint: or leave it out\n"),
    ],
    ids=["command", "command that resembles one", "command with a flag", "flag", "flag that resembles one", "boolean"],
)  # fmt: skip
def test_unknown_words(words: list[str], code: int, says: str) -> None:
    got = ctk.run(*words)

    assert (got.code, got.out, got.err) == (code, "", says)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["--quiet"], {}, ""),
        (["--quiet=true", "--debug"], {}, ""),
        ([], {"NVIDIA_CTK_QUIET": "1"}, ""),
        (["--quiet=false"], {"NVIDIA_CTK_QUIET": "true"}, "found 0 CDI devices\n"),
        ([], {"NVIDIA_CTK_QUIET": "", "NVIDIA_CTK_DEBUG": "F"}, "found 0 CDI devices\n"),
        (["-d"], {}, "debug: CDI specs from /nowhere\nfound 0 CDI devices\n"),
        ([], {"NVIDIA_CTK_DEBUG": "T"}, "debug: CDI specs from /nowhere\nfound 0 CDI devices\n"),
    ],
)
def test_talk(words: list[str], environment: dict[str, str], said: str) -> None:
    got = ctk.run(*words, "cdi", "list", "--spec-dir", "/nowhere", **environment)

    assert (got.code, got.out, got.err) == (0, "", said)


@pytest.mark.parametrize("variable", ["NVIDIA_CTK_DEBUG", "NVIDIA_CTK_QUIET"])
def test_variable_that_is_no_boolean(variable: str) -> None:
    got = ctk.run("cdi", "list", **{variable: "yes"})

    assert got.code == 1
    assert got.err.startswith(f"nvidia-ctk: ${variable}: must be true or false, not 'yes'\n")


def test_configuration_for_all_commands(tmp_path: Path) -> None:
    ctk.write(tmp_path / "cdi" / "gpus.json", cdi_spec())
    config = ctk.write(
        tmp_path / "config.toml",
        f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{tmp_path}/cdi"]\n',
    )

    assert ctk.run("--config", config, "cdi", "list").out == "nvidia.com/gpu=0\n"
    assert ctk.run("cdi", "list", NVIDIA_CTK_CONFIG=str(config)).out == "nvidia.com/gpu=0\n"


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (">/dev/full", "nvidia-ctk: cannot write to stdout: no space left on device\n"),
        ("| true", ""),
        (">&-", ""),
    ],
)
def test_stdout_that_takes_nothing(to: str, says: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(nvidia_runtime.__file__).parents[1])}
    script = f'"$@" {to}'
    argv = ["sh", "-c", script, "sh", sys.executable, "-c", ctk.PROGRAM, "--help"]

    got = subprocess.run(argv, stderr=subprocess.PIPE, text=True, check=False, env=env)

    assert got.stderr == says


def test_words_that_are_no_text() -> None:
    got = ctk.run("cdi", "validate", os.fsdecode(b"/nowhere/\xff"))

    assert got.code == 1
    assert got.out == "error: /nowhere/\\udcff: cannot be read: no such file or directory\n"


def test_command_loads_only_its_own() -> None:
    """The libraries of a command must not slow down all others, nor those of plumbum any."""
    probe = "import sys\nsys.argv[1:] = ['runtime', 'unconfigure', '--dry-run', '--runtime=x']\n"
    probe += "from nvidia_runtime.cli import ctk\n"
    probe += "try: ctk.main()\nexcept SystemExit: pass\n"
    probe += "print({'yaml', 'pyroute2', 'plumbum.machines', 'urllib.request'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(Path(nvidia_runtime.__file__).parents[1])}

    got = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=env
    )

    assert "unrecognized runtime 'x'" in got.stderr
    assert got.stdout.splitlines()[-1] == "set()"
