# SPDX-License-Identifier: Apache-2.0
"""Nodes of the driver: existing ones, possible ones, how they are made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import device_nodes

from . import trees

DEVICES = """Character devices:
  1 mem
195 nvidia
195 nvidia-modeset
195 nvidiactl
236 nvidia-caps
511 nvidia-uvm

Block devices:
  7 loop
  8 nvidia-no-such
"""
GPU = {"vendor": "0x10de\n", "class": "0x030200\n"}
MINORS = (
    "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci0/access 4\n"
    "gpu1/gi0/access 138\ngpu11/gi0/access 1488\n"
)


def kernel(root: Path, devices: str = DEVICES, minors: str = "", **functions: str) -> str:
    """Make /proc and /sys with two GPUs, an audio function, a bridge and a GPU of another vendor."""
    tree = {"proc/devices": devices}
    if minors:
        tree["proc/driver/nvidia-caps/mig-minors"] = minors
    pci = {
        "0000:01:00.0": GPU,
        "0000:01:00.1": {**GPU, "class": "0x040300\n"},
        "0000:02:00.0": {**GPU, "class": "0x030000\n"},
        "0000:03:00.0": {**GPU, "class": "0x068000\n"},
        "0000:04:00.0": {**GPU, "vendor": "0x1002\n"},
        "0000:05:00.0": {},
    }
    for name, files in pci.items():
        tree |= {f"sys/bus/pci/devices/{name}/": ""}
        tree |= {f"sys/bus/pci/devices/{name}/{file}": text for file, text in files.items()}
    return trees.make(root, tree)


def test_all_that_there_can_be(tmp_path: Path) -> None:
    assert device_nodes.possible(kernel(tmp_path, minors=MINORS)) == {
        "/dev/nvidia-modeset": (195, 254),
        "/dev/nvidiactl": (195, 255),
        "/dev/nvidia-uvm": (511, 0),
        "/dev/nvidia-uvm-tools": (511, 1),
        "/dev/nvidia0": (195, 0),
        "/dev/nvidia1": (195, 1),
        "/dev/nvidia-caps/nvidia-cap1": (236, 1),
        "/dev/nvidia-caps/nvidia-cap2": (236, 2),
        "/dev/nvidia-caps/nvidia-cap3": (236, 3),
        "/dev/nvidia-caps/nvidia-cap4": (236, 4),
        "/dev/nvidia-caps/nvidia-cap138": (236, 138),
    }


def test_no_capabilities_without_mig(tmp_path: Path) -> None:
    without = DEVICES.replace("236 nvidia-caps\n", "")

    assert len(device_nodes.possible(kernel(tmp_path, without))) == 6


def test_older_drivers_have_another_name(tmp_path: Path) -> None:
    root = kernel(tmp_path, DEVICES.replace("195 nvidia\n", "195 nvidia-frontend\n"))

    assert device_nodes.majors(root)["nvidia"] == 195


@pytest.mark.parametrize(
    ("devices", "minors", "sentence"),
    [
        ("Character devices:\n  1 mem\n", "", "no NVIDIA devices found"),
        ("Character devices:\n\nBlock devices:\n195 nvidia\n", "", "no NVIDIA devices found"),
        (DEVICES.replace("511 nvidia-uvm", ""), "", "missing required device major nvidia-uvm"),
        (
            DEVICES.replace("236 nvidia-caps", ""),
            MINORS,
            "missing required device major nvidia-caps",
        ),
    ],
    ids=["no driver", "block devices do not count", "no uvm", "no capabilities"],
)
def test_what_the_kernel_lacks(devices: str, minors: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match=sentence) as caught:
        device_nodes.possible(kernel(tmp_path, devices, minors))

    assert caught.value.hint


def test_nodes_that_are_there(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-fs0", "nvidia-nvlink", "nvidia-caps/nvidia-cap1"):
        trees.mknod(tmp_path / "dev" / name, 195, 7)
    trees.make(tmp_path, {"dev/nvidia-file": "", "dev/nvidia1": "-> nvidia0"})

    assert device_nodes.present(f"{tmp_path}") == {
        "/dev/nvidia0": (195, 7),
        "/dev/nvidiactl": (195, 7),
        "/dev/nvidia-caps/nvidia-cap1": (195, 7),
    }


def test_make_whatever_the_umask(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/other", 195, 0)  # or skip
    before = os.umask(0o077)
    try:
        assert device_nodes.make(f"{tmp_path}", "/dev/nvidiactl", (195, 255))
    finally:
        os.umask(before)
    status = os.lstat(tmp_path / "dev/nvidiactl")

    assert stat.filemode(status.st_mode) == "crw-rw-rw-"
    assert status.st_rdev == os.makedev(195, 255)
    assert not device_nodes.make(f"{tmp_path}", "/dev/nvidiactl", (195, 255))


def test_make_says_why_not(tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match="cannot make the node: no such file"):
        device_nodes.make(f"{tmp_path}", "/dev/nvidiactl", (195, 255))


def test_mismatch(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/nvidia-uvm", 510, 0)
    trees.make(tmp_path, {"dev/nvidiactl": ""})
    root = f"{tmp_path}"

    assert device_nodes.mismatch(root, "/dev/nvidia-uvm", (510, 0)) == ""
    assert device_nodes.mismatch(root, "/dev/nvidia-uvm", (511, 0)) == (
        "is device 510:0, the driver's is 511:0"
    )
    assert device_nodes.mismatch(root, "/dev/nvidiactl", (195, 255)) == (
        "is no character device, the driver's is 195:255"
    )


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, ""),
        ("-> ../dev/nvidia0", ""),
        ("-> {root}/dev/nvidia0", ""),
        ("-> ../dev/nvidia1", "a link to ../dev/nvidia1"),
        ("a file", "something that is not a link"),
    ],
)
def test_link(there: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "char").mkdir()
    if there:
        trees.make(tmp_path / "char", {"195:0": there.format(root=tmp_path)})
    target = f"{tmp_path}/dev/nvidia0"

    assert device_nodes.link(f"{tmp_path}/char", (195, 0), target) == said
    if there is None:
        assert os.readlink(tmp_path / "char/195:0") == target
