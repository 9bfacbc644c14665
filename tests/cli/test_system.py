# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system: device nodes, kernel modules, links for systemd."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import simulated
from host import trees

from . import ctk

NODES = "create-device-nodes"
LINKS = "create-dev-char-symlinks"
MODPROBE = """#!/bin/sh
echo "$1" >> {log}
[ "$1" != {bad} ] || {{ echo "no $1 for this kernel" >&2; echo "see dmesg"; exit 1; }}
"""
CALL = [sys.executable, "-I", "-c"]
PROGRAM = f"import sys; sys.path[:0] = {sys.path!r}; {ctk.PROGRAM}"


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """Make a root with device nodes of the driver and of others."""
    numbers = {"nvidia0": (195, 0), "nvidiactl": (195, 255), "nvidia-fs0": (500, 0)}
    for name, (major, minor) in numbers.items():
        trees.mknod(tmp_path / "driver/dev" / name, major, minor)
    trees.mknod(tmp_path / "driver/dev/nvidia-caps/nvidia-cap1", 236, 1)
    return tmp_path / "driver"


def on_a_gpu_machine(*words: str | Path, name: str = "t4x1") -> ctk.Ended:
    """Run nvidia-ctk on a kernel with the driver; the folders of tests are on the host."""
    got = simulated.run(name, [*CALL, PROGRAM, *words], env={"PATH": os.environ["PATH"]})
    assert "Traceback" not in got.stderr
    return ctk.Ended(got.returncode, got.stdout, got.stderr)


def links(folder: Path) -> dict[str, str]:
    return {name: os.readlink(folder / name) for name in sorted(os.listdir(folder))}


def test_links_to_the_nodes_of_a_driver_root(driver: Path, tmp_path: Path) -> None:
    char = tmp_path / "new/char"
    words = ("system", LINKS, f"--driver-root={driver}", f"--dev-char-path={char}")
    got = ctk.run(*words)

    assert (got.code, got.out, got.err) == (0, "", "")
    assert links(char) == {
        "195:0": f"{driver}/dev/nvidia0",
        "195:255": f"{driver}/dev/nvidiactl",
        "236:1": f"{driver}/dev/nvidia-caps/nvidia-cap1",
    }
    assert ctk.run(*words).err == ""  # there is nothing to do the second time


def test_links_by_variables(driver: Path, tmp_path: Path) -> None:
    char = tmp_path / "char"
    got = ctk.run(
        "system", LINKS, NVIDIA_DRIVER_ROOT=f"{driver}", DEV_CHAR_PATH=f"{char}", DRY_RUN="true"
    )

    assert got.code == 0
    assert f"Creating link {char}/195:0 => {driver}/dev/nvidia0" in got.err
    assert not char.exists()


def test_a_flag_takes_a_variable_back(driver: Path, tmp_path: Path) -> None:
    words = ("system", LINKS, f"--driver-root={driver}", f"--dev-char-path={tmp_path}/char")
    ctk.run(*words, "--dry-run=false", DRY_RUN="1")

    assert len(links(tmp_path / "char")) == 3


def test_what_is_there_is_left(driver: Path, tmp_path: Path) -> None:
    trees.make(tmp_path, {"char/195:0": "-> /dev/other", "char/236:1": "a file"})
    got = ctk.run("system", LINKS, f"--driver-root={driver}", f"--dev-char-path={tmp_path}/char")

    assert got.code == 0
    assert "195:0 is a link to /dev/other, not a link to" in got.err
    assert "236:1 is something that is not a link" in got.err
    assert os.readlink(tmp_path / "char/195:0") == "/dev/other"
    assert os.readlink(tmp_path / "char/195:255") == f"{driver}/dev/nvidiactl"


def test_no_nodes_no_links(tmp_path: Path) -> None:
    got = ctk.run("system", LINKS, f"--driver-root={tmp_path}", f"--dev-char-path={tmp_path}/c")

    assert (got.code, got.err) == (0, f"no NVIDIA device nodes in {tmp_path}/dev\n")
    assert not (tmp_path / "c").exists()


def test_links_to_all_that_there_can_be(tmp_path: Path) -> None:
    char = tmp_path / "char"
    got = on_a_gpu_machine("system", LINKS, "--create-all", f"--dev-char-path={char}")
    targets = links(char)

    assert (got.code, got.err) == (0, "")
    assert targets["195:0"] == "/dev/nvidia0"
    assert targets["195:254"] == "/dev/nvidia-modeset"
    assert targets["237:1"] == "/dev/nvidia-caps/nvidia-cap1"
    assert targets["237:137"] == "/dev/nvidia-caps/nvidia-cap137"
    assert "237:138" not in targets  # of a second GPU
    assert len(targets) == 4 + 1 + 2 + 15 * 9


@pytest.mark.parametrize("flag", ["--load-kernel-modules", "--create-device-nodes"])
def test_what_only_create_all_needs(flag: str, tmp_path: Path) -> None:
    got = ctk.run("system", LINKS, flag, f"--driver-root={tmp_path}")

    assert got.code == 0
    assert f"warning: ignoring {flag}" in got.err


@pytest.mark.parametrize("command", [[LINKS, "--create-all"], [NODES, "--control-devices"]])
def test_no_driver(command: list[str], tmp_path: Path) -> None:
    if "nvidia" in Path("/proc/devices").read_text():
        pytest.skip("the driver is loaded here")
    got = ctk.run("system", *command, f"--driver-root={tmp_path}")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: /proc/devices: no NVIDIA devices found\nhint: load")


def test_control_nodes(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/nvidia-uvm", 400, 0)
    got = on_a_gpu_machine("--debug", "system", NODES, "--control-devices", f"--root={tmp_path}")
    nodes = {name: os.lstat(tmp_path / "dev" / name) for name in os.listdir(tmp_path / "dev")}

    assert got.code == 0
    assert {name: os.minor(status.st_rdev) for name, status in nodes.items()} == {
        "nvidia-modeset": 254,
        "nvidiactl": 255,
        "nvidia-uvm": 0,
        "nvidia-uvm-tools": 1,
    }
    assert all(status.st_mode & 0o777 == 0o666 for status in nodes.values())
    assert f"warning: {tmp_path}/dev/nvidia-uvm is device 400:0, the driver's is 511:0" in got.err
    assert f"made {tmp_path}/dev/nvidiactl" in got.err


def test_control_nodes_of_a_root_of_their_own(tmp_path: Path) -> None:
    got = on_a_gpu_machine(
        *("system", NODES, "--control-devices", "--dry-run", "--load-kernel-modules"),
        *("--driver-root=/run/nvidia/driver", f"--dev-root={tmp_path}"),
    )

    assert got.code == 0
    assert got.err.splitlines() == [
        "Running: chroot /run/nvidia/driver /sbin/modprobe nvidia",
        "Running: chroot /run/nvidia/driver /sbin/modprobe nvidia-uvm",
        "Running: chroot /run/nvidia/driver /sbin/modprobe nvidia-modeset",
        f"Running: mknod --mode=0666 {tmp_path}/dev/nvidia-modeset c 195 254",
        f"Running: mknod --mode=0666 {tmp_path}/dev/nvidiactl c 195 255",
        f"Running: mknod --mode=0666 {tmp_path}/dev/nvidia-uvm c 511 0",
        f"Running: mknod --mode=0666 {tmp_path}/dev/nvidia-uvm-tools c 511 1",
    ]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        ("none", 0, ""),
        (
            "nvidia-uvm",
            1,
            "cannot load kernel module nvidia-uvm: no nvidia-uvm for this kernel; see dmesg",
        ),
    ],
)
def test_modules_are_loaded_in_order(bad: str, code: int, said: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = MODPROBE.format(log=log, bad=bad)
    program = [*CALL, PROGRAM, "system", NODES, "--load-kernel-modules"]
    install = f"rm -f /sbin/modprobe; printf '%s' '{script}' > /sbin/modprobe"
    words = ["sh", "-c", f'{install}; chmod 755 /sbin/modprobe; exec "$@"', "sh", *program]
    got = simulated.run("t4x1", words)
    loaded = ["nvidia", "nvidia-uvm", "nvidia-modeset"]

    assert got.returncode == code
    assert said in got.stderr
    assert log.read_text().split() == loaded[: loaded.index(bad) + 1 if code else None]


def test_a_module_that_cannot_be_loaded(tmp_path: Path) -> None:
    """chroot reports a root without modprobe, and so does nvidia-ctk."""
    simulated.need_root()
    got = ctk.run("system", NODES, "--load-kernel-modules", f"--root={tmp_path}")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: cannot load kernel module nvidia: chroot: ")
    assert "/sbin/modprobe" in got.err


def test_nothing_asked_for() -> None:
    got = ctk.run("system", NODES)

    assert (got.code, got.out) == (0, "")
    assert got.err.startswith("nothing to do")
