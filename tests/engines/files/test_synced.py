# SPDX-License-Identifier: Apache-2.0
"""What must be on the disk before the next step, by the system calls of a whole run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli import ctk

import nvidia_runtime

CALL = re.compile(r'(fsync|rename)\((?:\d+<([^>]*)>|"[^"]*", "([^"]*)")')


@pytest.fixture
def strace() -> str:
    return shutil.which("strace") or pytest.skip("strace is not installed")


def steps(strace: str, folder: Path, *words: str) -> list[tuple[str, str]]:
    """Run nvidia-ctk; list what it brings to the disk, and what it renames, by their names."""
    trace = folder / "trace"
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(nvidia_runtime.__file__).parents[1]),
        "STATE_DIRECTORY": str(folder / "state"),
        "XDG_CONFIG_HOME": ctk.NOWHERE,
        "PATH": "/nowhere",
    }
    command = [strace, "-f", "-y", "-o", str(trace), "-e", "trace=fsync,rename", sys.executable]
    got = subprocess.run(
        [*command, "-c", ctk.PROGRAM, *words], env=environment, capture_output=True, check=False
    )
    if b"ptrace" in got.stderr and got.returncode:
        pytest.skip("processes may not be traced here")
    assert got.returncode == 0, got.stderr
    calls = (CALL.search(line) for line in trace.read_text().splitlines())
    return [(call[1], Path(call[2] or call[3]).name) for call in calls if call]


def test_journal_and_backup_are_on_the_disk_before_the_file(strace: str, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{}")

    done = steps(strace, tmp_path, "runtime", "configure", f"--config={file}")

    backup = next(name for call, name in done if call == "rename" and name.startswith("tmp%"))
    ours = [step for step in done if step[1] != "low-level-runtime"]
    assert ours == [
        ("fsync", f".{backup[:100]}.nvidia-ctk"),
        ("rename", backup),
        ("fsync", "backups"),
        ("fsync", ".engines.json.nvidia-ctk"),
        ("rename", "engines.json"),
        ("fsync", "state"),
        ("fsync", ".daemon.json.nvidia-ctk"),
        ("rename", "daemon.json"),
        ("fsync", tmp_path.name),
    ]


@pytest.mark.parametrize("name", ["config", "settings"])
def test_settings_are_on_the_disk(strace: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    flags = [f"--config={file}", "-i"] if name == "settings" else [f"--output={file}"]

    done = steps(strace, tmp_path, "config", "--set=disable-require=true", *flags)

    assert done[-2:] == [("rename", "config.toml"), ("fsync", tmp_path.name)]
    assert done[-3][0] == "fsync"


def test_spec_is_on_the_disk(strace: str, tmp_path: Path) -> None:
    """A spec that a power cut left empty keeps every GPU from every container."""
    spec = tmp_path / "old.json"
    spec.write_text(
        '{"cdiVersion": "0.5.0", "kind": "a/b", "devices": [{"name": "d", "containerEdits": {"env": ["A=1"]}}]}'
    )
    file = tmp_path / "new.json"
    roots = ("--from=/x", "--to=/y")

    done = steps(
        strace, tmp_path, "cdi", "transform", "root", *roots, f"--input={spec}", f"--output={file}"
    )

    assert done[-2:] == [("rename", "new.json"), ("fsync", tmp_path.name)]
    assert done[-3][0] == "fsync"
