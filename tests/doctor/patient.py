# SPDX-License-Identifier: Apache-2.0
"""Doctor on simulated machines: a fault is made by a few lines of shell, then it looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import shim
import simulated
from cli import ctk

from . import stand_ins

# A line after which doctor runs as a user who is not root.
AS_USER = 'set -- setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'


@dataclass(frozen=True, slots=True)
class Answer:
    """What doctor says, and its exit code."""

    code: int
    document: dict[str, Any]

    def codes(self, beginning: str = "NCT-") -> list[str]:
        """Return the codes of its findings, as they are ordered, those of an area by a beginning."""
        codes = [str(finding["code"]) for finding in self.document["findings"]]
        return [code for code in codes if code.startswith(beginning)]

    def finding(self, code: str) -> dict[str, Any]:
        """Return the only finding with a code."""
        (finding,) = [one for one in self.document["findings"] if one["code"] == code]
        return dict(finding)


# The host's own is seen on a simulated machine, too, and another test may have made it.
WITHOUT_SYSTEMD = "[ ! -d /run/systemd ] || mount -t tmpfs tmpfs /run/systemd"


def examine(
    machine: str,
    fault: str = "",
    *,
    env: Mapping[str, str] | None = None,
    engines: tuple[str, ...] = (),
    **options: Any,
) -> Answer:
    """Run doctor on a simulated machine after the lines of shell that make it faulty.

    Of the engines of this host it has those whose programs are named; two areas ask each for its
    version, a third of the time that an examination takes.  ``options`` are those of
    `simulated.run`: the faults of its GPUs, real folders.
    """
    # With the driver's folder alone simulated, the programs would be the host's.
    away = ":" if "root_only" in options else stand_ins.without(*engines)
    script = f'{WITHOUT_SYSTEMD}\n{away}\n{fault}\nexec "$@"'
    words = [sys.executable, "-c", ctk.PROGRAM, "doctor", "--json"]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE), **(env or {})}
    got = simulated.run(machine, ["sh", "-euc", script, "sh", *words], env=variables, **options)
    assert "Traceback" not in got.stderr, got.stderr
    assert got.stdout, got.stderr
    return Answer(got.returncode, json.loads(got.stdout))


def after(machine: str, fault: str, code: str, **options: Any) -> Answer:
    """Run doctor on a faulty machine once more, after what it said to do next."""
    command = examine(machine, fault, **options).finding(code)["next"]
    return done(machine, fault, command, **options)


def done(machine: str, fault: str, command: str, **options: Any) -> Answer:
    """Run doctor on a faulty machine after a command, which may call nvidia-ctk."""
    tool = (
        "cat > /usr/bin/nvidia-ctk <<'END'\n#!/bin/sh\n"
        f"exec {sys.executable} -c '{ctk.PROGRAM}' \"$@\"\nEND\nchmod +x /usr/bin/nvidia-ctk"
    )
    return examine(machine, f"{fault}\n{tool}\n{command}", **options)
