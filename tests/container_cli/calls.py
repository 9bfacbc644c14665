# SPDX-License-Identifier: Apache-2.0
"""Calls of nvidia-container-cli on a simulated machine."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import shim
import simulated

NAME = "nvidia-container-cli"
PROGRAM = shim.BIN / NAME


class Answer:
    """What a call wrote, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def lines(self) -> list[str]:
        """Return the lines of a call that succeeded and had no complaint."""
        assert (self.code, self.err) == (0, "")
        return self.out.splitlines()

    def refusal(self) -> str:
        """Return what a call said that failed: a sentence and a hint."""
        assert (self.code, self.out) == (1, "")
        sentence, *hint = self.err.removeprefix(f"{NAME}: ").splitlines()
        return " | ".join([sentence, *(line.removeprefix("hint: ") for line in hint)])


ALL = """
import json, subprocess, sys
def call(words):
    got = subprocess.run([sys.argv[1], *words], capture_output=True, text=True)
    return got.returncode, got.stdout, got.stderr
print(json.dumps([call(words.split()) for words in sys.argv[2:]]))
"""


def run_all(machine: str, *calls: str, **options: Any) -> dict[str, Answer]:
    """Make some calls on one machine, which takes time to make; return the answers by the calls."""
    got = simulated.run(machine, [sys.executable, "-IS", "-c", ALL, PROGRAM, *calls], **options)
    assert got.returncode == 0, got.stderr
    answers = json.loads(got.stdout)
    return {words: Answer(*answer) for words, answer in zip(calls, answers, strict=True)}


def run(machine: str, *words: str, **options: Any) -> Answer:
    """Call the program on a machine; the options are those of `simulated.run`."""
    env = {"PATH": os.environ["PATH"]} | options.pop("env", {})
    got = simulated.run(machine, [PROGRAM, *words], env=env, **options)
    return Answer(got.returncode, got.stdout, got.stderr)
