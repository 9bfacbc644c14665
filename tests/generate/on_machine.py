# SPDX-License-Identifier: Apache-2.0
"""Generation on a simulated machine: a process there, its result, its calls of NVML."""

from __future__ import annotations

import collections
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simulated

PROGRAM = """
import json, sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Options
from nvidia_runtime.host import nvml
nvml.SLOW = {slow} or nvml.SLOW
options = Options()
options.path = "/usr/bin"
for name, value in json.loads(sys.argv[1]).items():
    kind = type(getattr(options, name))
    setattr(options, name, kind(value) if kind in (tuple, frozenset) else value)
try:
    made = machine.generate(options)
except NvidiaRuntimeError as error:
    print(json.dumps(["error", str(error), error.hint]))
else:
    print(json.dumps([made.spec, made.problems, made.warnings, made.hidden, made.watched]))
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What was generated; ``calls`` counts NVML's functions."""

    spec: dict[str, Any]
    problems: dict[str, str]
    warnings: list[str]
    hidden: list[dict[str, Any]]
    watched: list[str]
    calls: collections.Counter[str]

    def names(self) -> list[str]:
        """Return the names of the devices."""
        return [device["name"] for device in self.spec["devices"]]

    def edits(self, name: str) -> dict[str, Any]:
        """Return the edits of a device."""
        (device,) = [entry for entry in self.spec["devices"] if entry["name"] == name]
        return dict(device["containerEdits"])

    def nodes(self, name: str) -> list[str]:
        """Return the paths of a device's nodes."""
        return [node["path"] for node in self.edits(name)["deviceNodes"]]


def generate(machine: str, tmp_path: Path, *, before: str = "", **options: Any) -> Made:
    """Generate on a machine; options that `simulated.run` knows are faults there.

    ``before`` is a command of a shell that changes the machine first.
    """
    got = _run(machine, tmp_path, before, options)
    assert got[0] != "error", got[1]
    spec, problems, warnings, hidden, watched = got
    return Made(spec, problems, warnings, hidden, watched, _calls(tmp_path / "trace"))


def error(machine: str, tmp_path: Path, *, before: str = "", **options: Any) -> tuple[str, str]:
    """Generate what cannot be generated; return the sentence and its hint."""
    got = _run(machine, tmp_path, before, options)
    assert got[0] == "error", got
    return got[1], got[2]


FAULTS = ("fail", "hang", "crash", "without", "lose", "remove", "mismatch", "attach_us", "init_us")


def _run(machine: str, tmp_path: Path, before: str, options: dict[str, Any]) -> list[Any]:
    faults = {name: options.pop(name) for name in FAULTS if name in options}
    # On a busy machine each GPU is slow; one that is meant to be takes its time.
    slow = 0 if "attach_us" in faults else 60
    program = PROGRAM.format(tree=os.fspath(simulated.TREE), slow=slow)
    argv: list[str] = [sys.executable, "-c", program, json.dumps(options)]
    if before:
        argv = ["/bin/sh", "-c", f'{before} && exec "$@"', "sh", *argv]
    env = {"PATH": os.environ["PATH"], "MOCK_NVML_TRACE": os.fspath(tmp_path / "trace")}
    got = simulated.run(machine, argv, env=env, **faults)
    assert got.stderr == ""
    return list(json.loads(got.stdout))


def _calls(trace: Path) -> collections.Counter[str]:
    """Count the calls that the mock library recorded: process, time, function, result."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    return collections.Counter(line.split()[2] for line in lines)
