# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk as a process: its arguments and its output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nvidia_runtime

PROGRAM = "from nvidia_runtime.cli import main; main()"
# Tests do not read the configuration in /etc.
NOWHERE = "/nowhere"
# The program of hooks in specs, there or not: without it, a missing one is warned of.
HOOK = {"NVIDIA_CTK_CDI_HOOK_PATH": "/usr/bin/nvidia-cdi-hook"}


@dataclass(frozen=True, slots=True)
class Ended:
    """The exit code and the output of a call."""

    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        """Return the lines of stdout."""
        return self.out.splitlines()


def run(*words: str | Path, stdin: str = "", cwd: str | Path = "/", **environment: str) -> Ended:
    """Run nvidia-ctk; there must be no traceback."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(nvidia_runtime.__file__).parents[1]),
        "XDG_CONFIG_HOME": NOWHERE,
        **environment,
    }
    argv = [sys.executable, "-c", PROGRAM, *words]
    got = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, check=False, cwd=cwd, env=env
    )
    assert "Traceback" not in got.stderr
    return Ended(got.returncode, got.stdout, got.stderr)


def write(path: Path, document: Any) -> Path:
    """Write a document as JSON, or a text as it is, and make the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path
