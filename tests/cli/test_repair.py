# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk repair: its words; what it does is in tests/engines/test_repair.py."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from shim import NOBODY, TREE, needs_root

from . import ctk


@pytest.mark.parametrize("words", [[], ["c1", "--all"]], ids=["neither", "both"])
def test_either_a_container_or_all(words: list[str]) -> None:
    got = ctk.run("repair", *words)

    assert (got.code, got.out) == (1, "")
    assert got.err == (
        "nvidia-ctk: either a container or --all is needed\nhint: name a container, or give --all\n"
    )


@needs_root
def test_only_root_repairs() -> None:
    words = [sys.executable, "-c", ctk.PROGRAM, "repair", "--all"]
    env = {"PYTHONPATH": str(TREE)}
    options: dict[str, Any] = {"cwd": "/", "env": env, "user": NOBODY, "text": True}
    try:
        got = subprocess.run(words, capture_output=True, check=False, **options)
    except PermissionError:
        pytest.skip(f"another user cannot run {sys.executable}")
    if "No module named" in got.stderr:
        pytest.skip("another user cannot read the package")

    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == (
        "nvidia-ctk: device rules of control groups are changed by root only\n"
        "hint: run it as root\n"
    )


@needs_root
def test_unknown_container() -> None:
    got = ctk.run("repair", "no-such-container")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: there is no record of a container 'no-such-container'\n")
