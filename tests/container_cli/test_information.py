# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-cli info: the text that scripts read, and what a machine without a driver says."""

from __future__ import annotations

import functools

import pytest

from nvidia_runtime.simulate import catalogue

from .calls import Answer, run, run_all

DRIVER = "NVRM version:   580.95.05\nCUDA version:   13.0\n"
T4 = f"""
Device Index:   0
Device Minor:   0
Model:          Tesla T4
Brand:          Tesla
GPU UUID:       {catalogue.find("t4x1").gpus[0].uuid}
Bus Location:   00000000:00:1e.0
Architecture:   7.5
"""
CSV = """\
NVRM version,CUDA version
580.95.05,13.0

Device Index,Device Minor,Model,Brand,GPU UUID,Bus Location,Architecture
"""


NOWHERE = ("info", "list", "list --libraries")


@functools.cache
def of_t4() -> dict[str, Answer]:
    wanted = ["info", "--load-kmods info --csv", *(f"--root=/srv {words}" for words in NOWHERE)]
    return run_all("t4x1", *wanted)


def test_text() -> None:
    assert of_t4()["info"].out == DRIVER + T4


def test_values() -> None:
    values = [line.partition(":")[2].strip() for line in T4.strip().splitlines()]

    assert of_t4()["--load-kmods info --csv"].out == CSV + ",".join(values) + "\n"


def test_every_gpu_in_the_order_of_indices() -> None:
    got = run("a100x8", "info", "--csv")

    minors = [line.split(",")[:2] for line in got.out.splitlines()[4:]]
    assert minors == [[str(n), m] for n, m in enumerate("23016745")]
    assert {line.split(",")[3] for line in got.out.splitlines()[4:]} == {"Nvidia"}


def test_sick_gpu_is_left_out() -> None:
    got = run("a100x8", "info", "--csv", fail=["nvmlDeviceGetUUID:15@3"])

    assert [line[0] for line in got.out.splitlines()[4:]] == [*"0124567"]
    assert got.err.startswith("nvidia-container-cli: GPU 3 ")
    assert got.code == 0


@pytest.mark.parametrize("command", NOWHERE)
def test_machine_without_a_driver(command: str) -> None:
    """Below another root, to have one machine for all."""
    assert of_t4()[f"--root=/srv {command}"].refusal() == (
        "initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object"
        " file: no such file or directory"
        " | no driver is installed below /srv; --root names another folder"
    )


@pytest.mark.parametrize(
    ("machine", "command", "fail", "expected"),
    [
        ("nogpu", "info", [], "driver not loaded"),
        ("nogpu", "list", [], "driver not loaded"),
        ("t4x1", "info", ["nvmlInit_v2:18"], "driver/library version mismatch"),
        ("t4x1", "info", ["nvmlInit_v2:999"], "unknown error"),
        ("a100x8mig", "list", ["nvmlInit_v2:4"], "insufficient permissions"),
    ],
)
def test_driver_that_does_not_answer(
    machine: str, command: str, fail: list[str], expected: str
) -> None:
    said = run(machine, command, fail=fail).refusal()

    assert said.startswith(f"initialization error: nvml error: {expected} | ")
