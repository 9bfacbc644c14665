# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk selftest: its results for safe and for careless programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import shim

from . import ctk

# Joins paths and follows links, as the first hooks did.
CARELESS = """\
#!/bin/sh
[ "$1" = create-symlinks ] || exit 0
mkdir -p "$PWD/usr/lib/x86_64-linux-gnu"
ln -s "${3%%::*}" "$PWD${3##*::}"
"""


def test_attacks_that_are_held_off() -> None:
    done = ctk.run(
        "selftest", "--security", "--only", "T04-libraries-by-d", "--programs", os.fspath(shim.BIN)
    )

    assert done.code == 0, done.out
    assert done.out.startswith(
        "ok      T04  /usr/lib of the image is a link with many dots (hook)\n"
    )
    assert "FAILED" not in done.out
    assert " ok, 0 FAILED, " in done.err


def test_attack_that_succeeds(tmp_path: Path) -> None:
    for name in ("nvidia-cdi-hook", "nvidia-container-runtime"):
        (tmp_path / name).write_text(CARELESS)
        (tmp_path / name).chmod(0o755)

    done = ctk.run(
        "selftest",
        "--security",
        "--only",
        "T04-libraries-by-an",
        "--programs",
        os.fspath(tmp_path),
        "--all",
    )

    assert done.code == 1
    first = done.out.splitlines()[0]
    assert first.startswith(
        "FAILED  T04  /usr/lib of the image is an absolute link to the host (hook)"
    )
    assert "lib/x86_64-linux-gnu/libcuda.so on the host was made" in first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no test is named"),
        (("--security", "--only", "T99"), "no attack has a name that begins with 'T99'"),
        (("--security", "--programs", "/nonexistent"), "/nonexistent: there is no nvidia-cdi-hook"),
    ],
    ids=["nothing", "unknown", "no programs"],
)
def test_misuse(words: tuple[str, ...], said: str) -> None:
    done = ctk.run("selftest", *words)

    assert done.code == 1
    assert said in done.err
    assert done.out == ""
