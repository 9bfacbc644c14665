# SPDX-License-Identifier: Apache-2.0
"""Engines' programs, asked a question: what they run with, or what they think of a file.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from nvidia_runtime.errors import os_reason

SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a program printed; ``problem`` is why it gave no answer, ``is_refusal`` that it ran."""

    out: str = ""
    err: str = ""
    problem: str = ""
    is_refusal: bool = False


def ask(command: list[str], **variables: str) -> Answer:
    """Run a program to its end, with variables put over those of our own environment."""
    try:
        got = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=_environment() | variables,
        )
    except (OSError, ValueError) as error:
        return Answer(problem=os_reason(error))
    except subprocess.TimeoutExpired:
        return Answer(problem=f"no answer in {SECONDS} seconds")
    out, err = (each.decode(errors="replace") for each in (got.stdout, got.stderr))
    if got.returncode == 0:
        return Answer(out=out, err=err)
    lines = (err.strip() or out.strip()).splitlines()
    problem = lines[-1].strip() if lines else f"exit code {got.returncode}"
    # What a program says must not move the cursor of whoever reads it.
    shown = "".join(each if each.isprintable() else "?" for each in problem[:500])
    return Answer(out=out, err=err, problem=shown, is_refusal=True)


def _environment() -> dict[str, str]:
    """Return our environment as we got it: CPython adds LC_CTYPE in a C locale (PEP 538)."""
    variables = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:
            names = {entry.partition(b"=")[0] for entry in file.read().split(b"\0")}
    except OSError:
        return variables
    if b"LC_CTYPE" not in names:
        variables.pop("LC_CTYPE", None)
    return variables
