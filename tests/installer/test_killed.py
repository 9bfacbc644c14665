# SPDX-License-Identifier: Apache-2.0
"""An installation that is killed at any call that changes a disk; the next one completes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import shim
from faults import faulty
from faults.conftest import library

from nvidia_runtime.installer import tree

from .node import DAEMON_JSON, PROGRAM, Node, contents

__all__ = ["library"]
pytestmark = shim.needs_root
READY = "run/toolkit.ready"  # has a process id
RECORD = "local/.toolkit-state/state.json"
BACKUPS = "local/.toolkit-state/backups"


def run(node: Node, preload: str, fault: str, *words: str) -> int:
    """Run an installation with a fault."""
    code = f"import sys; sys.path.insert(0, {os.fspath(shim.TREE)!r}); {PROGRAM}"
    environment = node.environment(
        LD_PRELOAD=preload, NVCR_FAULT=fault, NVCR_CALLS=f"{node.folder}/calls"
    )
    argv = [sys.executable, "-c", code, *node.words("--no-daemon", *words)]
    return subprocess.run(argv, capture_output=True, check=False, env=environment).returncode


def reset(node: Node, before: dict[str, str]) -> None:
    for folder in (node.local, node.run_folder):
        shutil.rmtree(folder, ignore_errors=True)
    (node.folder / "calls").unlink(missing_ok=True)
    node.config.write_text(DAEMON_JSON)
    assert contents(node.folder) == before


def complaint(node: Node, finished: dict[str, str], before: dict[str, str]) -> str:
    """Say what is wrong after a kill, or after what comes next; nothing if all is well."""
    if node.toolkit.is_symlink() and not tree.is_whole(os.fspath(node.tree())):
        return "the link names half of a tree"
    text = node.config.read_text()
    try:
        program = node.document().get("runtimes", {}).get("nvidia", {}).get("path", "")
    except ValueError:
        return f"half of a file: {text}"
    if program and not Path(program).exists():
        return "the engine knows a program that is not there"
    again = node.install("--no-daemon")
    now = {name: what for name, what in contents(node.folder).items() if not is_of_run(name)}
    if again.code or now != finished:
        different = {name for name in now | finished if now.get(name) != finished.get(name)}
        return f"the next run: {again.code} {again.err} {different}"
    removed = node.install("--remove")
    shutil.rmtree(node.run_folder, ignore_errors=True)
    (node.folder / "calls").unlink(missing_ok=True)
    if removed.code or contents(node.folder) != before:
        return f"removed: {removed.code} {removed.err}"
    return ""


def is_of_run(name: str) -> bool:
    """Whether a file says when, or by whom, something was done."""
    return name in (READY, RECORD, "calls") or name.startswith(BACKUPS)


def test_kill(node: Node, library: str, request: pytest.FixtureRequest) -> None:
    before = contents(node.folder)
    assert run(node, library, "kill 0") == 0
    calls = (node.folder / "calls").read_text().splitlines()
    finished = {name: what for name, what in contents(node.folder).items() if not is_of_run(name)}
    count = sum(line.startswith("1 ") for line in calls)
    is_long = request.config.getoption("--long")
    # Most of them copy files; what comes then is tried more thoroughly.
    last = range(max(1, count - 60), count + 1)
    places = sorted(
        {*faulty.places(count, 200 if is_long else 6, is_long=False), *last[:: 1 if is_long else 6]}
    )
    wrong = []
    for place in places:
        reset(node, before)
        code = run(node, library, f"kill {place}")
        if code == 0:
            continue
        assert code == -signal.SIGKILL
        if said := complaint(node, finished, before):
            wrong.append((place, said))

    assert not wrong, "\n".join(str(fault)[:800] for fault in wrong)
