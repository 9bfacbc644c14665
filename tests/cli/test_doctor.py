# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk doctor as people see it."""

from __future__ import annotations

import os
import sys

import pytest
import shim
import simulated

from . import ctk


def test_first_line_and_finding() -> None:
    words = [sys.executable, "-c", ctk.PROGRAM, "doctor"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}
    script = 'mount -t tmpfs tmpfs /proc/driver/nvidia\nexec "$@"'

    got = simulated.run("t4x1", ["sh", "-euc", script, "sh", *words], env=env)

    lines = got.stdout.splitlines()
    assert lines[0] == "this machine gives containers their GPUs: no (NCT-0101)"
    assert lines[2] == "error NCT-0101: the driver's kernel module is not loaded"
    assert "  next   modprobe nvidia" in lines
    assert (got.returncode, got.stderr) == (1, "")


@pytest.mark.parametrize("word", ["NCT-0101", "nct-0101", "0101", "101"])
def test_code_is_explained(word: str) -> None:
    got = ctk.run("doctor", word)

    assert got.code == 0
    assert got.lines()[0] == "NCT-0101  the driver's kernel module is not loaded (error)"


def test_unknown_code() -> None:
    got = ctk.run("doctor", "NCT-0000")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: there is no code 'NCT-0000'\nhint: ")
