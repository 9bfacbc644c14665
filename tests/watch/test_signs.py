# SPDX-License-Identifier: Apache-2.0
"""Signs that a machine has changed: a machine in a folder, one change at a time."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nvidia_runtime.watch.signs import Lookout, difference

# After whatever a test does.
LATER = 1 << 62
MIG = "proc/driver/nvidia/capabilities/gpu0/mig"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
FILES = {
    "sys/module/nvidia/version": "580.95.05\n",
    "proc/driver/nvidia/gpus/0000:65:00.0/information": "Model: NVIDIA\n",
    f"{MIG}/gi1/access": "DeviceFileMinor: 12\n",
    f"{MIG}/gi1/ci0/access": "DeviceFileMinor: 13\n",
    "dev/nvidia0": "",
    "dev/nvidia-caps/nvidia-cap12": "",
    "dev/null": "",
    f"{LIBRARIES}/libcuda.so.580.95.05": "driver",
    f"{LIBRARIES}/libz.so.1": "no driver",
    "run/nvidia-fabricmanager/other": "",
    "etc/watched.conf": "1",
    "proc/version": "",
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def lookout(machine: Path) -> Lookout:
    return Lookout(root=str(machine), machine=str(machine))


def write(name: str, text: str = "") -> Callable[[Path], object]:
    def change(machine: Path) -> None:
        file = machine / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return change


def listen(machine: Path) -> None:
    folder = machine / "run/nvidia-persistenced"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as door:
        before = Path.cwd()
        os.chdir(folder)  # a socket's name is short
        door.bind("socket")
        os.chdir(before)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a driver of another version": (
        write("sys/module/nvidia/version", "590.10\n"),
        "/sys/module/nvidia/version changed",
    ),
    "a driver that is unloaded": (
        lambda machine: shutil.rmtree(machine / "sys/module/nvidia"),
        "/sys/module/nvidia/version disappeared",
    ),
    "a GPU that is plugged in": (
        write("proc/driver/nvidia/gpus/0000:b1:00.0/information"),
        "/proc/driver/nvidia/gpus/0000:b1:00.0 appeared",
    ),
    "a MIG device that is made": (
        write(f"{MIG}/gi2/ci0/access"),
        f"/{MIG}/gi2, /{MIG}/gi2/ci0 appeared",
    ),
    "a MIG device that is destroyed": (
        lambda machine: shutil.rmtree(machine / MIG / "gi1/ci0"),
        f"/{MIG}/gi1/ci0 disappeared",
    ),
    "an IMEX channel": (
        write("dev/nvidia-caps-imex-channels/channel0"),
        "/dev/nvidia-caps-imex-channels/channel0 appeared",
    ),
    "a control node": (write("dev/nvidia-uvm"), "/dev/nvidia-uvm appeared"),
    "a node's mode": (
        lambda machine: (machine / "dev/nvidia0").chmod(0o600),
        "/dev/nvidia0 changed",
    ),
    "a socket": (listen, "/run/nvidia-persistenced/socket appeared"),
    "a library of another version": (
        lambda machine: (machine / LIBRARIES / "libcuda.so.580.95.05").rename(
            machine / LIBRARIES / "libcuda.so.590.10"
        ),
        f"{{machine}}/{LIBRARIES}/libcuda.so.590.10 appeared; "
        f"{{machine}}/{LIBRARIES}/libcuda.so.580.95.05 disappeared",
    ),
    "a library that is written anew": (
        write(f"{LIBRARIES}/libcuda.so.580.95.05", "another"),
        f"{{machine}}/{LIBRARIES}/libcuda.so.580.95.05 changed",
    ),
    "another library": (write(f"{LIBRARIES}/libz.so.2"), ""),
    "another node": (write("dev/sda"), ""),
    "what a process tells of itself": (write("proc/version", "another"), ""),
    "a GPU's information": (
        write("proc/driver/nvidia/gpus/0000:65:00.0/information", "read by nobody"),
        "",
    ),
    "a node that is used": (lambda machine: os.utime(machine / "dev/nvidia0", (1, 1)), ""),
    "nothing": (lambda _machine: None, ""),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
def test_change_is_seen(change: Callable[[Path], object], says: str, machine: Path) -> None:
    looking = lookout(machine)
    before = looking.look()

    change(machine)

    assert difference(before, looking.look()) == says.format(machine=machine)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mknod")
def test_node_with_another_number(machine: Path) -> None:
    """The major of nvidia-uvm changes with each load of the module."""
    node = machine / "dev/nvidia-uvm"
    os.mknod(node, stat.S_IFCHR, os.makedev(120, 0))
    looking = lookout(machine)
    before = looking.look()

    node.unlink()
    os.mknod(node, stat.S_IFCHR, os.makedev(121, 0))

    assert difference(before, looking.look()) == "/dev/nvidia-uvm changed"


def test_what_a_generator_looked_at_is_looked_at_too(machine: Path) -> None:
    file, missing = machine / "etc/watched.conf", machine / "etc/missing.conf"
    looking = lookout(machine)

    before = looking.widen([str(file), str(missing), "/dev", "relative"], looking.look(), LATER)

    assert difference(before, looking.look()) == ""
    file.write_text("another")
    missing.write_text("there")
    assert difference(before, looking.look()) == f"{missing} appeared; {file} changed"


def test_folder_of_other_programs_changes_only_with_the_driver_s(machine: Path) -> None:
    """Installing a package does not wake a GPU."""
    folder = machine / "usr/bin"
    folder.mkdir()
    looking = lookout(machine)
    before = looking.widen([str(folder)], looking.look(), LATER)

    (folder / "vim").touch()
    assert difference(before, looking.look()) == ""
    (folder / "nvidia-smi").touch()
    assert difference(before, looking.look()) == f"{folder} changed"


def test_change_since_the_generator_began_is_seen(machine: Path) -> None:
    file = machine / "etc/watched.conf"
    looking = lookout(machine)
    since = time.time_ns()
    file.write_text("another")

    before = looking.widen([str(file)], looking.look(), since)

    assert difference(before, looking.look()) == f"{file} changed"


def test_what_does_not_matter_any_more_is_no_change(machine: Path) -> None:
    file = machine / "etc/watched.conf"
    looking = lookout(machine)
    before = looking.widen([str(file)], looking.look(), LATER)

    before = looking.widen([str(machine / "etc/other")], before, LATER)

    assert difference(before, looking.look()) == ""


def test_change_between_two_looks_is_seen_although_more_is_looked_at(machine: Path) -> None:
    looking = lookout(machine)
    before = looking.look()
    write("dev/nvidia1")(machine)

    before = looking.widen([str(machine / "etc/watched.conf")], before, LATER)

    assert difference(before, looking.look()) == "/dev/nvidia1 appeared"


def test_many_changes_are_one_line(machine: Path) -> None:
    looking = lookout(machine)
    before = looking.look()
    for number in range(1, 8):
        write(f"dev/nvidia{number}")(machine)

    assert difference(before, looking.look()) == (
        "/dev/nvidia1, /dev/nvidia2, /dev/nvidia3 and 4 more appeared"
    )


def test_machine_without_a_driver_shows_nothing(tmp_path: Path) -> None:
    assert lookout(tmp_path).look() == {}
