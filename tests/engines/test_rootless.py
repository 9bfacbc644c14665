# SPDX-License-Identifier: Apache-2.0
"""A user's podman in a job of a batch system: no session, and settings at home."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import shim
from cli import ctk

from . import processes, rootless
from .installed import require
from .machine import Machine
from .podman import Podman

NAME = "nvidia-container-runtime"
# Records of earlier runs are there, too.
CONTAINER = f"nvcr-job-{os.urandom(4).hex()}"


def low_level(podman: Podman) -> Path:
    """Make settings at home, which name a low-level runtime that notes its calls."""
    runtime = podman.folder / "noting"
    runtime.write_text(f'#!/bin/sh\necho "$*" >>"$0.calls"\nexec {require("runc")} "$@"\n')
    runtime.chmod(0o755)
    config = podman.folder / ".config" / NAME / "config.toml"
    config.parent.mkdir(parents=True)
    lines = f'[{NAME}]\nmode = "cdi"\nruntimes = [{json.dumps(os.fspath(runtime))}]\n'
    config.write_text(f'{lines}[{NAME}.modes.cdi]\nspec-dirs = ["/run/cdi"]\n')
    rootless.own(podman.folder)
    return runtime


def test_settings_at_home_and_a_record(machine: Machine, live_podman: Podman) -> None:
    """podman hands HOME to create alone; delete has to reach the same low-level runtime."""
    podman = rootless.podman(machine, live_podman)
    runtime = replace(podman.runtime, path=machine.shim)
    podman = replace(podman, enter=rootless.enter(machine), runtime=runtime)
    root = podman.root()
    noting = low_level(podman)
    words = (*podman.podman(runtime), "run", "--rm", "--network=none", f"--name={CONTAINER}")
    explain = (*podman.enter, sys.executable, "-c", ctk.PROGRAM, "explain", "--json")
    tree = {**podman.env, "PYTHONPATH": os.fspath(shim.TREE)}

    asked = ("--env=NVIDIA_VISIBLE_DEVICES=0", "--rootfs", root, "true")
    done = processes.run([*words, *asked], env=podman.env)
    records = json.loads(processes.succeed(explain, env=tree))

    assert done.returncode == 0, done.stderr
    calls = Path(f"{noting}.calls").read_text().split()
    assert {"create", "start", "delete"} <= set(calls)
    (record,) = [record for record in records if record["names"] == [CONTAINER]]
    assert record["devices"]
