# SPDX-License-Identifier: Apache-2.0
"""What entries of CSV lists mean below a root."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.host import tegra

from . import trees

LIB = "usr/lib/aarch64-linux-gnu"
TREE = {
    f"{LIB}/tegra/libcuda.so.1.1": "",
    f"{LIB}/tegra/libcuda.so.1": "-> libcuda.so.1.1",
    f"{LIB}/tegra/libcuda.so": "-> libcuda.so.1",
    f"{LIB}/libcuda.so": "-> tegra/libcuda.so",
    "opt/lib/libfoo.so.1": "",
    "opt/lib/libfoo.so": "-> libfoo.so.1",
    "etc/absolute": f"-> /{LIB}/tegra/libcuda.so.1.1",
    "etc/dangling": "-> nowhere",
    "etc/loop": "-> loop",
    "etc/out": "-> ../../../../../../../../etc/passwd",
    "etc/folder": "-> firmware",
    "etc/firmware/": "",
    "etc/.hidden.conf": "",
}


@pytest.fixture
def root(tmp_path: Path) -> str:
    return trees.make(tmp_path / "driver", TREE)


@pytest.mark.parametrize(
    ("entry", "paths"),
    [
        (f"/{LIB}/tegra/libcuda.so.1.1", [f"/{LIB}/tegra/libcuda.so.1.1"]),
        (f"/{LIB}/libcuda.so", [f"/{LIB}/tegra/libcuda.so.1.1"]),
        ("/etc/absolute", [f"/{LIB}/tegra/libcuda.so.1.1"]),
        ("/opt/lib/libfoo*", ["/opt/lib/libfoo.so.1", "/opt/lib/libfoo.so.1"]),
        ("/opt/*/libfoo.so.1", ["/opt/lib/libfoo.so.1"]),
        ("libfoo.so", ["/opt/lib/libfoo.so.1"]),
        ("/etc/dangling", []),
        ("/etc/loop", []),
        ("/etc/firmware", []),
        ("/etc/missing", []),
        ("/etc/missing*", []),
        ("/etc/[", []),
        ("/etc/*.conf", ["/etc/.hidden.conf"]),
    ],
)
def test_files(entry: str, paths: list[str], root: str) -> None:
    assert tegra.find_files(root, ("/opt/lib",), [entry]) == {entry: [root + p for p in paths]}


def test_a_folder_of_the_host_is_searched_too(root: str) -> None:
    matches = tegra.find_files(root, (f"{root}/opt/lib",), ["libfoo.so"])

    assert matches == {"libfoo.so": [f"{root}/opt/lib/libfoo.so.1"]}


def test_folders(root: str) -> None:
    entries = ["/etc/firmware", "/etc/folder", "/etc/f*", "/etc/absolute", "/missing"]

    assert tegra.find_folders(root, entries) == {
        "/etc/firmware": ["/etc/firmware"],
        "/etc/folder": ["/etc/folder"],
        "/etc/f*": ["/etc/firmware", "/etc/folder"],
        "/etc/absolute": [],
        "/missing": [],
    }


@pytest.mark.parametrize(
    ("entry", "steps"),
    [
        (
            f"/{LIB}/libcuda.so",
            [
                (f"/{LIB}/libcuda.so", "tegra/libcuda.so"),
                (f"/{LIB}/tegra/libcuda.so", "libcuda.so.1"),
                (f"/{LIB}/tegra/libcuda.so.1", "libcuda.so.1.1"),
            ],
        ),
        (f"/{LIB}/tegra/libcuda.so.1.1", []),
        ("/etc/absolute", [("/etc/absolute", f"/{LIB}/tegra/libcuda.so.1.1")]),
        ("/etc/dangling", None),
        ("/etc/loop", None),
        ("/etc/out", None),
        ("/etc/folder", None),
        ("/etc/missing", None),
    ],
    ids=["chain", "file", "absolute", "dangling", "loop", "out of the root", "folder", "missing"],
)
def test_links(entry: str, steps: list[tuple[str, str]] | None, root: str) -> None:
    (links,) = tegra.find_links(root, [entry]).values()

    assert [link.steps for link in links] == ([] if steps is None else [steps])
    assert [link.file for link in links] == (
        [] if steps is None else [f"{root}/{LIB}/tegra/libcuda.so.1.1"]
    )


def test_an_absolute_link_of_the_host(tmp_path: Path) -> None:
    tree = trees.make(tmp_path, {"file": "", "link": f"-> {tmp_path}/file"})
    link = tegra.follow("/", f"{tree}/link")

    assert link
    assert (link.file, link.steps) == (f"{tree}/file", [(f"{tree}/link", f"{tree}/file")])


def test_nodes(tmp_path: Path) -> None:
    for name in ("nvmap", "nvgpu/igpu0/ctrl", "dri/card1", "dri/card0"):
        trees.mknod(tmp_path / "dev" / name, 505, 0)
    trees.make(tmp_path, {"dev/file": "", "dev/link": "-> nvmap"})
    entries = ["/dev/nvmap", "nvmap", "/dev/nvgpu/igpu*/ctrl", "/dev/dri/card*", "/dev/file"]
    matches = tegra.find_nodes(f"{tmp_path}", [*entries, "/dev/link", "/dev/missing"])

    assert {entry: [node.path for node in nodes] for entry, nodes in matches.items()} == {
        "/dev/nvmap": ["/dev/nvmap"],
        "nvmap": ["/dev/nvmap"],
        "/dev/nvgpu/igpu*/ctrl": ["/dev/nvgpu/igpu0/ctrl"],
        "/dev/dri/card*": ["/dev/dri/card0", "/dev/dri/card1"],
        "/dev/file": [],
        "/dev/link": [],
        "/dev/missing": [],
    }
