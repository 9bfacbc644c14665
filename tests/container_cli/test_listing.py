# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-cli list: which paths in which order, by what is chosen."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from nvidia_runtime.simulate import catalogue

from .calls import Answer, run, run_all

CONTROL = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"]
LIB = "/usr/lib/x86_64-linux-gnu"
PROC = "/proc/driver/nvidia/capabilities"
CAP = "/dev/nvidia-caps/nvidia-cap"
MIG = catalogue.find("a100x8mig").gpus[1].mig_devices[0].uuid
FIRST = [
    *("/usr/bin/nvidia-smi", "/usr/bin/nvidia-debugdump", "/usr/bin/nvidia-persistenced"),
    *("/usr/bin/nvidia-cuda-mps-control", "/usr/bin/nvidia-cuda-mps-server"),
    *(f"{LIB}/libnvidia-ml.so.580.95.05", f"{LIB}/libnvidia-cfg.so.580.95.05"),
    *(f"{LIB}/libcuda.so.580.95.05", f"{LIB}/libcudadebugger.so.580.95.05"),
]
FIRMWARE = [f"/lib/firmware/nvidia/580.95.05/gsp_{name}.bin" for name in ("ga10x", "tu10x")]
CHANNELS = [f"/dev/nvidia-caps-imex-channels/channel{number}" for number in (0, 7)]
SOCKETS = [f"/run/nvidia-{name}/socket" for name in ("persistenced", "fabricmanager")]


CHOICES = {
    "--ipcs --firmwares": [*SOCKETS, *FIRMWARE],
    "-i --no-persistenced": SOCKETS[1:],
    "-i --no-fabricmanager": SOCKETS[:1],
    "-if --no-gsp-firmware": SOCKETS,
    "--binaries": [*FIRST[:5], "/usr/bin/nvidia-imex", "/usr/bin/nvidia-imex-ctl"],
    "--device=2": [*CONTROL, "/dev/nvidia2"],
    "--device=3,1 --device=3": [*CONTROL, "/dev/nvidia3", "/dev/nvidia1"],
    "--device=0 --imex-channel=0,7": [*CONTROL, "/dev/nvidia0", *CHANNELS],
    "--device=00000000:2A:00.0": [*CONTROL, "/dev/nvidia1"],
    "--compat32": [],
}


@functools.cache
def of_h100s() -> dict[str, Answer]:
    return run_all("h100x8", "list", *(f"list {words}" for words in CHOICES))


def test_everything() -> None:
    listed = of_h100s()["list"].lines()

    gpus = [f"/dev/nvidia{minor}" for minor in range(8)]
    assert listed[:12] == [*CONTROL, *gpus]
    at = listed.index("/usr/bin/nvidia-smi")
    assert at == 12
    assert [path for path in listed[at:] if path in FIRST] == FIRST
    assert listed[-4:] == [*SOCKETS, *FIRMWARE]
    assert len(set(listed)) == len(listed)
    assert not [path for path in listed if "/xorg/" in path or path.endswith(".json")]


@pytest.mark.parametrize("words", CHOICES)
def test_choice(words: str) -> None:
    assert of_h100s()[f"list {words}"].lines() == CHOICES[words]


def test_libraries_take_no_nvml_and_no_module() -> None:
    """As on a machine that builds images: Charliecloud asks there."""
    got = run("nogpu", "list", "--binaries", "--libraries")

    assert got.lines()[: len(FIRST)] == FIRST


def test_driver_root(tmp_path: Path) -> None:
    """Paths are those below the root, as they will be in a container."""
    root = tmp_path / "driver"

    got = run("t4x1", f"--root={root}", "list", "-l", root_only=root)

    assert got.lines()[0] == f"{LIB}/libnvidia-ml.so.580.95.05"


OF_MIG = f"{PROC}/gpu3/mig/gi1"
WITH_MIG = {
    f"--device={device}": [
        *(*CONTROL, "/dev/nvidia3", f"{OF_MIG}/access", f"{OF_MIG}/ci0/access"),
        *(f"{CAP}417", f"{CAP}418"),
    ]
    for device in ("1:0", MIG, MIG.upper())
} | {
    f"--device=0000:90:00.0 --mig-{what}=all": [
        *(*CONTROL, "/dev/nvidia7", f"{PROC}/mig/{what}", f"{CAP}{number}", f"{PROC}/gpu7"),
    ]
    for what, number in (("config", 1), ("monitor", 2))
}
REFUSALS = {
    "--device=0,9": "device error: 9: unknown device",
    "--device=GPU-0": "device error: GPU-0: unknown device",
    "--device=0000:99:00.0": "device error: 0000:99:00.0: unknown device",
    "--device=0:1 --mig-config=all": (
        "mig-config error: all: cannot enable mig-config with specific MIG devices selected"
    ),
    "--device=all --mig-monitor=0": (
        "mig-monitor error: 0: only 'all' devices are currently supported"
    ),
    "--imex-channel=x": "detection error: invalid IMEX channel ID 'x'",
    "0": "too many arguments",
}


@functools.cache
def of_mig() -> dict[str, Answer]:
    return run_all("a100x8mig", *(f"list {words}" for words in WITH_MIG | REFUSALS))


@pytest.mark.parametrize("words", WITH_MIG)
def test_mig_devices(words: str) -> None:
    assert of_mig()[f"list {words}"].lines() == WITH_MIG[words]


@pytest.mark.parametrize("words", REFUSALS)
def test_what_there_is_not(words: str) -> None:
    said = of_mig()[f"list {words}"].refusal()

    assert said.partition(" | ")[0] == REFUSALS[words]


def test_other_machines() -> None:
    answers = run_all("wsl2", "list --device=all", "list --libraries")

    assert answers["list --device=all"].lines() == ["/dev/dxg"]
    libraries = answers["list --libraries"].lines()
    assert any(path.endswith("/libcuda.so.1.1") for path in libraries)
