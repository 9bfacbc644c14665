# SPDX-License-Identifier: Apache-2.0
"""Device nodes below a root."""

from __future__ import annotations

from pathlib import Path

from nvidia_runtime.host import nodes

from . import trees


def test_find_in_the_order_of_names(tmp_path: Path) -> None:
    for minor in (10, 2, 0):
        trees.mknod(tmp_path / f"dev/nvidia-fs{minor}", 500, minor)
    trees.mknod(tmp_path / "dev/nvidiactl", 195, 255)

    pairs = [(node.path, node.minor) for node in nodes.find(f"{tmp_path}", "/dev/nvidia-fs*")]

    assert pairs == [("/dev/nvidia-fs0", 0), ("/dev/nvidia-fs10", 10), ("/dev/nvidia-fs2", 2)]


def test_read_tells_all_about_a_node(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/gdrdrv", 510, 3, mode=0o660, gid=44)
    node = nodes.read(f"{tmp_path}", "/dev/gdrdrv")

    assert node
    assert (node.path, node.host_path) == ("/dev/gdrdrv", f"{tmp_path}/dev/gdrdrv")
    assert (node.major, node.minor, node.mode, node.gid) == (510, 3, 0o660, 44)


def test_files_and_links_are_no_nodes(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"dev/nvidia-fs0": "", "dev/nvidia-fs1": "-> /dev/null"})

    assert nodes.find(root, "/dev/nvidia-fs*") == []
    assert nodes.read(root, "/dev/nvidia-fs2") is None
    assert nodes.find(root, "/nowhere/x*") == []


def test_host_root() -> None:
    node = nodes.read("/", "/dev/null")

    assert node
    assert (node.path, node.host_path, node.major, node.minor) == ("/dev/null", "/dev/null", 1, 3)
