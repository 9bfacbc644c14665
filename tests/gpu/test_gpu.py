# SPDX-License-Identifier: Apache-2.0
"""``tests/gpu/run`` on this machine's GPUs, and as much of it as a simulated machine allows."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import simulated

from gpu import report
from gpu.report import FAILED, OK, SKIPPED, Step

RUN = str(Path(__file__).with_name("run"))
needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, ("runc", "busybox", "cc"))), reason="needs runc, busybox and cc"
)


def rows(page: str) -> dict[str, str]:
    """Return the outcome of each step on a page."""
    cells = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {row[0][2:]: row[1] for row in cells if row[1] in (OK, FAILED, SKIPPED)}


@needs_programs
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(
    not os.path.exists("/dev/nvidiactl") or not ctypes.util.find_library("nvidia-ml"),
    reason="needs a GPU and its driver: tests/gpu/run, on a machine that has one",
)
def test_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    words = [RUN, "--report", str(file), "--rounds", "3"]

    got = subprocess.run(words, check=False, env=os.environ | {"PYTHON": sys.executable})

    assert FAILED not in rows(file.read_text()).values(), file.read_text()
    assert got.returncode == 0


@needs_programs
@pytest.mark.parametrize("machine", ["h100x8", "a100x8mig"])
def test_simulated_machine(machine: str, tmp_path: Path) -> None:
    """All but what needs a driver behind the nodes."""
    file = tmp_path / "report.md"
    words = [RUN, "--simulated", "--report", str(file), "--rounds", "1", "--pack", "/nowhere"]

    got = simulated.run(machine, words, env=os.environ | {"PYTHON": sys.executable})

    page = file.read_text() if file.exists() else ""
    assert got.returncode == 0, got.stderr + page
    assert rows(page) == {
        "generate": OK,
        "every node is in the spec": OK,
        "refresh agrees": OK,
        "nvidia-smi names the same GPUs": SKIPPED,
        "nvidia-smi topo -m sees the same ways": SKIPPED,
        "jit-cdi: a container with all GPUs": OK,
        "jit-cdi: nvidia-smi -L in the container": SKIPPED,
        "jit-cdi: a CUDA program in the container": SKIPPED,
        "cdi: a container with all GPUs": OK,
        "cdi: nvidia-smi -L in the container": SKIPPED,
        "cdi: a CUDA program in the container": SKIPPED,
        "times": OK,
    }
    assert "| runc alone | " in page


def test_machine_without_a_driver() -> None:
    if os.path.exists("/proc/driver/nvidia/version"):
        pytest.skip("needs a machine without a driver")
    got = subprocess.run(
        [RUN], capture_output=True, text=True, check=False, env={"PYTHON": sys.executable}
    )

    assert got.returncode == 1
    assert got.stderr.startswith("tests/gpu/run: n")


def test_failed_step_is_on_the_page() -> None:
    steps = [Step(name="generate", outcome=FAILED, text="ValueError: a | b\nmore")]

    page = report.page({"machine": "one GPU"}, steps, {"bare": [2.0, 1.0, 4.0], "ours": [3.0]}, {})

    assert page.splitlines()[0] == "# one GPU"
    assert "| generate | FAILED | ValueError: a \\| b |" in page
    assert "| bare | 2.0 | 1.0 | 4.0 | +0.0 |" in page
    assert "| ours | 3.0 | 3.0 | 3.0 | +1.0 |" in page
    assert "    more\n" in page


def test_questions_are_answered_by_what_was_measured() -> None:
    asked = {
        "persistence": {"persistenced": True, "users": ["nvidia-persiste"]},
        "opening": {
            "/dev/nvidia0": {"open_ms": 900, "close_ms": 1, "again_ms": 2, "close_again_ms": 3}
        },
        "nvml": {
            "load_ms": 1,
            "rounds": [
                {
                    "init_ms": 5,
                    "open": ["/dev/nvidia0", "/dev/nvidiactl"],
                    "shutdown_ms": 4,
                    "gpus": [{"ms": 7, "open": [], "mig": {"mode": "on", "order": [[0, 7, 0]]}}],
                }
            ],
        },
    }

    answers = dict(report.answers(asked))

    assert answers["What does opening a GPU cost?"] == (
        "/dev/nvidia0: open 900 ms, close 1, again 2 and 3 (with nvidia-persistenced)."
    )
    assert answers["Does nvmlInit attach all GPUs?"] == (
        "Loading took 1 ms; nvmlInit took 5 ms and left 1 of 1 GPUs open, handles took 7 ms,"
        " nvmlShutdown 4 ms."
    )
    assert answers["In which order does NVML count MIG devices?"] == "GPU 0: 0 is gi7 ci0."
    assert answers["Is libnvidia-sandboxutils there?"] == "No."
