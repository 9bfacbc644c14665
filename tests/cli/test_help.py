# SPDX-License-Identifier: Apache-2.0
"""The help of all commands: how it looks, and that it costs no library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nvidia_runtime
from nvidia_runtime.cli import parse
from nvidia_runtime.cli.help import text
from nvidia_runtime.cli.tables import root
from nvidia_runtime.prepare.verbs import SWITCHES, USAGE, VERBS

from . import ctk
from .test_tables import ALL

HEAVY = {
    *("plumbum", "yaml", "jsonschema", "tomlkit", "tomllib", "pyroute2", "inspect", "typing"),
    *("subprocess", "argparse", "textwrap", "dataclasses"),
}


def help_of(name: str) -> list[str]:
    call = parse.read(name.split()[1:])
    return text(call.chain, call.names).splitlines()


@pytest.mark.parametrize("name", ALL)
def test_80_columns(name: str) -> None:
    assert [line for line in help_of(name) if len(line) > 79] == []


def test_first_help_fits_a_small_screen_and_teaches_by_examples() -> None:
    lines = help_of("nvidia-ctk")

    assert len(lines) <= 25
    assert len([line for line in lines if line.startswith("  nvidia-ctk ")]) == 3


@pytest.mark.parametrize("name", ALL)
def test_variables_and_names_are_unbroken(name: str) -> None:
    lines = help_of(name)
    words = {word.strip("[],") for line in lines for word in line.split()}
    names = {word.partition("=")[0] for word in words}

    if name == root.PROGRAM:
        return  # the switches of all commands are in a line of their own
    for switch in ALL[name].switches:
        assert {f"${variable}" for variable in switch.variables} <= words
        assert set(switch.names) <= names


@pytest.mark.parametrize("name", ALL)
def test_own_switches_come_first(name: str) -> None:
    lines = help_of(name)
    (at,) = [at for at, line in enumerate(lines) if line.startswith("GLOBAL OPTIONS: ")]

    assert at == len(lines) - 1
    for switch in root.ROOT.switches:
        assert switch.name in lines[at]
    if ALL[name].switches and name != root.PROGRAM:
        assert lines[lines.index("") + 3] == "Options:"


def test_hook_lists_all_verbs() -> None:
    got = ctk.run("hook", "--help")

    assert got.code == 0
    for verb, flags in VERBS.items():
        assert f"  {verb}" in got.out
        assert [flag for flag in flags if f"--{flag}" not in got.out] == []
    assert [flag for flag in SWITCHES if f"--{flag}" not in got.out] == []


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["cdi", "generate", "--help"],
        ["runtime", "configure", "--help"],
        ["completion", "bash"],
        ["__complete", "runtime", "configure", "--runtime", ""],
        ["__complete", "cdi", "generate", "--mode="],
    ],
    ids=" ".join,
)
def test_no_library_is_loaded(words: list[str]) -> None:
    """Nor a module of the standard library that takes long: they must answer at once."""
    probe = f"import sys\nsys.argv[1:] = {words}\nfrom nvidia_runtime.cli import ctk\n"
    probe += "try: ctk.main()\nexcept SystemExit as end: print(end.code, file=sys.stderr)\n"
    probe += f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)\n"
    env = {**os.environ, "PYTHONPATH": str(Path(nvidia_runtime.__file__).parents[1])}

    # Without site: what its .pth files load is not ours.
    got = subprocess.run(
        [sys.executable, "-S", "-c", probe], capture_output=True, text=True, check=True, env=env
    )

    assert got.stderr.splitlines() == ["0", "[]"]


def test_help_of_hooks_fits_80_columns() -> None:
    assert [line for line in USAGE.splitlines() if len(line) > 79] == []
