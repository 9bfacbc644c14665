# SPDX-License-Identifier: Apache-2.0
"""nvidia-container-cli list: which paths in which order, by what is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.simulate import catalogue

from .calls import run

CONTROL = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"]
LIB = "/usr/lib/x86_64-linux-gnu"
PROC = "/proc/driver/nvidia/capabilities"
CAP = "/dev/nvidia-caps/nvidia-cap"
MIG = catalogue.find('a100x8mig').gpus[1].mig_devices[0].uuid
FIRST = [
    *("/usr/bin/nvidia-smi", "/usr/bin/nvidia-debugdump", "/usr/bin/nvidia-persistenced"),
    *("/usr/bin/nvidia-cuda-mps-control", "/usr/bin/nvidia-cuda-mps-server"),
    *(f"{LIB}/libnvidia-ml.so.580.95.05", f"{LIB}/libnvidia-cfg.so.580.95.05"),
    *(f"{LIB}/libcuda.so.580.95.05", f"{LIB}/libcudadebugger.so.580.95.05"),
]
FIRMWARE = [f"/lib/firmware/nvidia/580.95.05/gsp_{name}.bin" for name in ("ga10x", "tu10x")]
CHANNELS = [f"/dev/nvidia-caps-imex-channels/channel{number}" for number in (0, 7)]
SOCKETS = [f"/run/nvidia-{name}/socket" for name in ("persistenced", "fabricmanager")]


def test_everything() -> None:
    listed = run("h100x8", "list").lines()

    gpus = [f"/dev/nvidia{minor}" for minor in range(8)]
    assert listed[:12] == [*CONTROL, *gpus]
    at = listed.index("/usr/bin/nvidia-smi")
    assert at == 12
    assert [path for path in listed[at:] if path in FIRST] == FIRST
    assert listed[-4:] == [*SOCKETS, *FIRMWARE]
    assert len(set(listed)) == len(listed)
    assert not [path for path in listed if "/xorg/" in path or path.endswith(".json")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--ipcs --firmwares", [*SOCKETS, *FIRMWARE]),
        ("-i --no-persistenced", SOCKETS[1:]),
        ("-i --no-fabricmanager", SOCKETS[:1]),
        ("--binaries", [*FIRST[:5], "/usr/bin/nvidia-imex", "/usr/bin/nvidia-imex-ctl"]),
        ("--device=2", [*CONTROL, "/dev/nvidia2"]),
        ("--device=3,1 --device=3", [*CONTROL, "/dev/nvidia3", "/dev/nvidia1"]),
        ("--device=0 --imex-channel=0,7", [*CONTROL, "/dev/nvidia0", *CHANNELS]),
        ("--compat32", []),
    ],
)
def test_choice(words: str, expected: list[str]) -> None:
    assert run("h100x8", "list", *words.split()).lines() == expected


def test_libraries_take_no_nvml_and_no_module() -> None:
    """As on a machine that builds images: Charliecloud asks there."""
    got = run("nogpu", "list", "--binaries", "--libraries")

    assert got.lines()[: len(FIRST)] == FIRST


def test_driver_root(tmp_path: Path) -> None:
    """Paths are those below the root, as they will be in a container."""
    root = tmp_path / "driver"

    got = run("t4x1", f"--root={root}", "list", "-l", root_only=root)

    assert got.lines()[0] == f"{LIB}/libnvidia-ml.so.580.95.05"


@pytest.mark.parametrize("device", ["1:0", MIG, MIG.upper()])
def test_mig_device(device: str) -> None:
    listed = run("a100x8mig", "list", f"--device={device}").lines()

    folder = f"{PROC}/gpu3/mig/gi1"
    assert listed[:-2] == [*CONTROL, "/dev/nvidia3", f"{folder}/access", f"{folder}/ci0/access"]
    assert listed[-2:] == [f"{CAP}417", f"{CAP}418"]


@pytest.mark.parametrize("what", ["config", "monitor"])
def test_managing_mig_devices(what: str) -> None:
    listed = run("a100x8mig", "list", "--device=0000:90:00.0", f"--mig-{what}=all").lines()

    number = {"config": 1, "monitor": 2}[what]
    assert listed == [*CONTROL, "/dev/nvidia7", f"{PROC}/mig/{what}", f"{CAP}{number}", f"{PROC}/gpu7"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--device=0,9", "device error: 9: unknown device"),
        ("--device=GPU-0", "device error: GPU-0: unknown device"),
        ("--device=0000:99:00.0", "device error: 0000:99:00.0: unknown device"),
        (
            "--device=0:1 --mig-config=all",
            "mig-config error: all: cannot enable mig-config with specific MIG devices selected",
        ),
        (
            "--device=all --mig-monitor=0",
            "mig-monitor error: 0: only 'all' devices are currently supported",
        ),
        ("--imex-channel=x", "detection error: invalid IMEX channel ID 'x'"),
        ("0", "too many arguments"),
    ],
)
def test_what_there_is_not(words: str, expected: str) -> None:
    said = run("a100x8mig", "list", *words.split()).refusal()

    assert said.partition(" | ")[0] == expected


def test_other_machines() -> None:
    assert run("wsl2", "list", "--device=all").lines() == ["/dev/dxg"]
    libraries = run("wsl2", "list", "--libraries").lines()
    assert any(path.endswith("/libcuda.so.1.1") for path in libraries)
