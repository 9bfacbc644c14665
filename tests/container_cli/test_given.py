# SPDX-License-Identifier: Apache-2.0
"""What a call gives, by its options: compared with one that has none of them."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import simulated

from .containers import ALL, program

# A machine that has the driver for 32-bit programs, too.
WITH_32 = "rtx5090"
GPU0 = {"devices": ["0"], "capabilities": ALL}
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
SOCKETS = ("/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket")
FIRMWARE = tuple(f"/lib/firmware/nvidia/580.95.05/gsp_{name}.bin" for name in ("ga10x", "tu10x"))
CHANNEL = "/dev/nvidia-caps-imex-channels/channel{}"
# What is named there is left out, or comes in addition.
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "no persistenced": ({"with_persistenced": False}, SOCKETS[:1], ()),
    "no fabricmanager": ({"with_fabricmanager": False}, SOCKETS[1:], ()),
    "no firmware": ({"with_gsp_firmware": False}, FIRMWARE, ()),
    "no container libraries": ({"with_container_libraries": False}, ("enable-cuda-compat",), ()),
    "no compatibility": ({"cuda_compat_mode": "disabled"}, ("enable-cuda-compat",), ()),
    "compatibility": ({"cuda_compat_mode": "ldconfig"}, (), ()),
    "channels": (
        {"imex_channels": ["0", "2047"]},
        (),
        (CHANNEL.format(0), CHANNEL.format(2047)),
    ),
    "a channel that is missing": ({"imex_channels": ["5"]}, (), (CHANNEL.format(5),)),
    "two GPUs": ({"devices": ["0", "7"]}, (), ("/dev/nvidia7",)),
    "no GPU": ({"devices": []}, ("/dev/nvidia0",), ()),
    "MIG": (
        {"mig_config": ["all"], "mig_monitor": ["all"]},
        (),
        ("/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2"),
    ),
}


@functools.cache
def answers() -> dict[str, list[str]]:
    """Ask for all cases, on one machine."""
    calls = [GPU0, *({**GPU0, **fields} for fields, _, _ in CASES.values())]
    done = simulated.run("h100x8", [*program("container_cli.givens"), json.dumps(calls)])
    assert done.returncode == 0, done.stderr
    return dict(zip(["", *CASES], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_option(case: str) -> None:
    usual, got = set(answers()[""]), set(answers()[case])

    _, left_out, added = CASES[case]
    assert set(left_out) <= usual
    assert got == (usual - set(left_out)) | set(added)


def test_capabilities() -> None:
    calls = [{**GPU0, "capabilities": names} for names in ([], ["utility"], ["compute"], ALL)]
    done = simulated.run("h100x8", [*program("container_cli.givens"), json.dumps(calls)])
    nothing, utility, compute, everything = map(set, json.loads(done.stdout))

    version = "580.95.05"
    assert f"{LIBRARIES}/libnvidia-ml.so.{version}" in utility - nothing
    assert f"{LIBRARIES}/libcuda.so.{version}" in compute - utility
    assert utility | compute < everything
    assert {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"} < nothing


FOLDER32 = "/usr/lib/i386-linux-gnu"


def test_libraries_of_32_bits() -> None:
    names = (["compute"], ["compute", "compat32"], ["utility", "compat32"])
    calls = [{**GPU0, "capabilities": capabilities} for capabilities in names]
    done = simulated.run("rtx5090", [*program("container_cli.givens"), json.dumps(calls)])
    assert done.returncode == 0, done.stderr
    without, compute, utility = map(set, json.loads(done.stdout))

    cuda, nvml = (f"{FOLDER32}/{name}.so.580.95.05" for name in ("libcuda", "libnvidia-ml"))
    assert not any(path.startswith(FOLDER32) for path in without)
    assert cuda in compute - utility
    assert nvml in utility - compute


def test_channel_that_is_missing_is_not_made_where_that_is_forbidden() -> None:
    call = {**GPU0, "imex_channels": ["7"], "can_create_channels": False}
    done = simulated.run("h100x8", [*program("container_cli.givens"), json.dumps([call])])

    assert done.returncode == 1
    assert "IMEX channel 7 not found" in done.stderr
