# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk topology: its forms, its file, and a machine without GPUs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import shim
import simulated

from . import ctk


def on_machine(
    name: str, *words: str, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", ctk.PROGRAM, "topology", *words]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE), **more}
    return simulated.run(name, ["sh", "-c", shlex.join(program)], env=env, cwd=cwd)


def test_text_is_the_tree_and_the_table() -> None:
    got = on_machine("h100x8")

    expected = (shim.TREE / "tests/topology/expected/h100x8.txt").read_text()
    assert (got.returncode, got.stdout, got.stderr) == (0, expected, "")


@pytest.mark.parametrize("output", ["", "new.svg"])
def test_picture(output: str, tmp_path: Path) -> None:
    got = on_machine("a100x8mig", "--format=svg", *(["-o", output] if output else []), cwd=tmp_path)

    drawn = (tmp_path / output).read_text() if output else got.stdout
    assert (got.returncode, got.stderr) == (0, "")
    assert drawn == (shim.TREE / "packaging/pictures/topology-a100x8mig.svg").read_text()
    assert bool(got.stdout) != bool(output)


def test_screen_that_has_no_lines_gets_ascii() -> None:
    got = on_machine("h100x8", PYTHONIOENCODING="latin-1")

    assert got.stderr == ""
    assert got.stdout.isascii()
    assert "|- 0000:15:01.0  root port\n|  `- 0000:16:00.0  PCIe switch\n" in got.stdout


def test_file_has_lines_whatever_the_screen_has(tmp_path: Path) -> None:
    on_machine("t4x1", "--output=new", cwd=tmp_path, PYTHONIOENCODING="latin-1")

    assert "├─ 0000:00:05.0" in (tmp_path / "new").read_text()


def test_here_it_does_not_fail() -> None:
    got = ctk.run("topology")

    assert (got.code, got.err) == (0, "")
    assert got.out


def test_picture_of_this_machine_is_xml() -> None:
    assert ElementTree.fromstring(ctk.run("topology", "--format=svg").out).tag.endswith("svg")


def test_form_that_does_not_exist() -> None:
    got = ctk.run("topology", "--format=png")

    assert got.code == 1
    assert "--format must be text or json or svg, not 'png'" in got.err


def test_settings_that_cannot_be_read_are_warned_of(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "config.toml", "[")

    got = ctk.run("topology", "--config", file)

    assert got.code == 0
    assert got.err.startswith("warning: ")
    assert "going on with the default settings" in got.err


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "file", "")

    got = ctk.run("topology", f"--output={file}/below")

    assert got.code == 1
    assert f"{file}" in got.err
