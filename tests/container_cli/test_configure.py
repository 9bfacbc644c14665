# SPDX-License-Identifier: Apache-2.0
"""`configure` at prestart gives a container what the default mode gives it before it exists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines.bundles import Bundles

from .containers import Change, Document, ask, call, said

LONG = pytest.mark.long
VIEWS = [("runc", "v1"), ("runc", "v2"), pytest.param("crun", "v1", marks=LONG), ("crun", "v2")]
On = Callable[[str, str, str], Bundles]
SHIFT = 100_000


def is_nothing(_: str) -> bool:
    return False


def is_node(line: str) -> bool:
    """Whether a line is of a node: crun makes some of its own outside, and mounts these."""
    return " character special file " in line


def compared(
    live: Bundles,
    devices: str,
    *changes: Change,
    leave_out: Callable[[str], bool] = is_nothing,
    **fields: Any,
) -> list[str]:
    """Return what is in a container by `configure`; by the default mode it has the same."""
    expected = said(live, ask(f"NVIDIA_VISIBLE_DEVICES={devices}"), *changes, by_us=True)
    got = said(live, *changes, call(devices=devices.split(","), **fields))
    assert kept(got, leave_out) == kept(expected, leave_out)
    return got


def kept(lines: list[str], leave_out: Callable[[str], bool]) -> list[str]:
    return [plain(line) for line in lines if not leave_out(line)]


def plain(line: str) -> str:
    """Leave out what crun alone does: the folders that it makes in /dev have a sticky bit."""
    return line.replace(" directory 1755 ", " directory 755 ")


@pytest.mark.parametrize(("program", "view"), VIEWS)
def test_same_as_by_the_default_mode(program: str, view: str, bundles: On) -> None:
    got = compared(bundles("t4x1", program, view), "all")

    assert "/dev/nvidia0 No such device or address" in got


@pytest.mark.parametrize(
    ("program", "view"), [("runc", "v2"), pytest.param("crun", "v1", marks=LONG)]
)
def test_same_gpus_and_mig_devices(program: str, view: str, bundles: On) -> None:
    """The minors of this machine are in another order than the indices."""
    got = compared(bundles("a100x8mig", program, view), "7,1:2")

    opened = {line.split()[0] for line in got if line.endswith("No such device or address")}
    assert {"/dev/nvidia5", "/dev/nvidia3"} < opened
    assert not {"/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2"} & opened


def test_same_libraries_of_32_bits(bundles: On) -> None:
    everything = ask("NVIDIA_DRIVER_CAPABILITIES=all")

    got = compared(bundles("rtx5090", "runc", "v2"), "all", everything)

    assert any(line.startswith("/usr/lib/i386-linux-gnu/libcuda.so.") for line in got)


@pytest.mark.parametrize("program", [pytest.param("runc", marks=LONG), "crun"])
def test_read_only_root(program: str, bundles: On) -> None:
    """As of docker --read-only: the runtime makes it so when all is mounted."""

    def change(document: Document) -> None:
        document["root"]["readonly"] = True

    compared(bundles("t4x1", program, "v2"), "all", change)


@pytest.mark.parametrize("program", ["runc", pytest.param("crun", marks=LONG)])
def test_user_namespace(program: str, bundles: On) -> None:
    """As of docker's userns-remap: nodes of the host's are mounted, since none can be made."""
    live = bundles("t4x1", program, "v2")

    def change(document: Document) -> None:
        ids = {"containerID": 0, "hostID": SHIFT, "size": 65536}
        linux = document["linux"]
        linux["namespaces"].append({"type": "user"})
        linux |= {"uidMappings": [ids], "gidMappings": [ids]}
        root = newest(live) / "rootfs"
        for path in (root, *root.rglob("*")):
            shift(path)

    got = compared(live, "all", change, leave_out=is_node if program == "crun" else is_nothing)

    assert "/dev/nvidia0 rw,relatime" in got


def shift(path: Path) -> None:
    """Make a file of an image one of the namespace's root."""
    os.chown(path, SHIFT, SHIFT, follow_symlinks=False)


def newest(live: Bundles) -> Path:
    """Return the newest of the bundles."""
    bundles = [path for path in live.folder.iterdir() if path.name.startswith(live.folder.name)]
    return max(bundles, key=lambda path: int(path.name.rpartition("-")[2]))
