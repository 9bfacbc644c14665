# SPDX-License-Identifier: Apache-2.0
"""Simulated machines for tests: a folder with all that one has, and commands that run on one.

The data of ``simulated/expected`` was recorded from NVIDIA Container Toolkit on the same machines.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import build, catalogue, nvml
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.machine import Faults

TREE = Path(__file__).resolve().parents[1]
EXPECTED = Path(__file__).parent / "simulated/expected"
# On the others, tests of all machines take time and seldom find more: they run with --long.
USUAL = (
    *("t4x1", "a100x8", "a100x8mig", "a100x8mig56", "h100x8", "gb200x4", "rtxpro_miggfx", "orin"),
    *("thor_dgpu", "wsl2", "nogpu"),
)
ENTER = """
import json, sys
sys.path.insert(0, {tree!r})
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import build, catalogue, faults, namespace, run
name, options, real, root_only = json.loads(sys.argv[1])
try:
    machine = faults.apply(catalogue.find(name), **options)
    if root_only:
        namespace.enter_kernel(machine, root_only)
    else:
        namespace.enter(machine, real)
    run.become(sys.argv[2:], {{"NVIDIA_SIMULATED_MACHINE": build.HERE}})
except NvidiaRuntimeError as error:
    print(f"simulate: {{error}} ({{error.hint}})", file=sys.stderr)
    sys.exit(error.exit_code)
"""


def names(*, loaded: bool = False) -> list[Any]:
    """Return the names of all machines, or of those with GPUs, for a test of each of them."""
    wanted = [one.name for one in catalogue.machines() if one.gpus or not loaded]
    return [pytest.param(name, marks=() if name in USUAL else pytest.mark.long) for name in wanted]


@functools.cache
def machine(name: str) -> Path:
    """Return a folder with all that a machine has, for ``--driver-root``; do not change it.

    It is made once in a run of tests, and removed at the end.
    """
    need_root()
    folder = Path(tempfile.mkdtemp(prefix="nvcr-machine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    simulated_machine = catalogue.find(name)
    trees.create(
        build.driver_root(simulated_machine) | build.kernel(simulated_machine), os.fspath(folder)
    )
    return folder


def run(
    name: str,
    argv: Sequence[str | Path],
    *,
    real: Sequence[str] = (),
    root_only: str | Path = "",
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    input: str | None = None,
    timeout: float = 60,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine; return its output.

    ``options`` are those of faults.apply: fail, hang, crash, without, lose, remove, mismatch,
    init_us and so on.  ``root_only`` is a new folder for the driver: only /proc and /sys are the
    machine's then, as with ``nvidia-ctk simulate --root-only``.
    """
    return subprocess.run(
        words(name, argv, real=real, root_only=root_only, **options),
        env=None if env is None else dict(env),
        cwd=cwd,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def words(
    name: str,
    argv: Sequence[str | Path],
    *,
    real: Sequence[str] = (),
    root_only: str | Path = "",
    **options: Any,
) -> list[str]:
    """Return the command line that ``run`` runs, for tests that start it in another way.

    It does what ``nvidia-ctk simulate`` does, without the time that parsing its options takes.
    """
    need_root()
    request = json.dumps([name, options, list(real), os.fspath(root_only)])
    script = ENTER.format(tree=os.fspath(TREE))
    return [sys.executable, "-I", "-S", "-c", script, request, *(os.fspath(word) for word in argv)]


def need_root() -> None:
    """Skip a test where no machine can be simulated."""
    if os.geteuid() != 0:
        pytest.skip("not root: a simulated machine needs mounts and device nodes")
    need_nvml()


def need_nvml() -> None:
    """Skip a test where the libraries of a simulated machine cannot be compiled."""
    if not has_nvml():
        pytest.skip("no C compiler, with its headers, for the simulated NVML")


@functools.cache
def has_nvml() -> bool:
    """Whether the simulated NVML is there, or can be compiled."""
    try:
        return bool(nvml.library(Faults()))
    except NvidiaRuntimeError:
        return False
