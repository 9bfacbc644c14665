# SPDX-License-Identifier: Apache-2.0
"""Engines' programs, asked for their version or configuration, or to judge a file."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from nvidia_runtime.errors import os_reason

SECONDS = 30
SECONDS_FOR_VERSION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a program printed; ``problem`` is why it gave no answer, ``is_refusal`` that it ran."""

    out: str = ""
    err: str = ""
    problem: str = ""
    is_refusal: bool = False


def ask(
    command: list[str],
    variables: dict[str, str] | None = None,
    *,
    executable: str = "",
    seconds: float = SECONDS,
    root: str = "",
) -> Answer:
    """Run a program to its end, with variables put over those of our own environment.

    It is one of the machine whose root is given.
    """
    try:
        process = subprocess.run(
            command,
            executable=executable or None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=_environment() | (variables or {}),
            preexec_fn=entrance(root),
        )
    except (OSError, ValueError) as error:
        return Answer(problem=os_reason(error))
    except subprocess.SubprocessError as error:
        if not isinstance(error, subprocess.TimeoutExpired):  # of the root
            return Answer(problem=f"{root} cannot be entered")
        return Answer(problem=f"no answer in {seconds} seconds")
    out, err = (data.decode(errors="replace") for data in (process.stdout, process.stderr))
    if process.returncode == 0:
        return Answer(out=out, err=err)
    lines = (err.strip() or out.strip()).splitlines()
    problem = lines[-1].strip() if lines else f"exit code {process.returncode}"
    # What a program prints must not move the cursor of a terminal.
    shown = "".join(char if char.isprintable() else "?" for char in problem[:500])
    return Answer(out=out, err=err, problem=shown, is_refusal=True)


def entrance(root: str) -> Callable[[], None] | None:
    """Return what a new process does to be on the machine with a root; nothing on our own."""

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    return enter if root else None


def version(
    executable: str, name: str, seconds: float = SECONDS_FOR_VERSION, root: str = ""
) -> tuple[int, ...]:
    """Ask a program for its version; k3s is many programs in one file, told apart by the name."""
    answer = ask([name, "--version"], executable=executable, seconds=seconds, root=root)
    return () if answer.problem else version_in(answer.out)


def version_in(text: str) -> tuple[int, ...]:
    """Return the first version in a text, () if it has none."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, match[0].split("."))) if match else ()


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
