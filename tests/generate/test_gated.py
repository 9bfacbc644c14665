# SPDX-License-Identifier: Apache-2.0
"""Features that a container asks for by name: their nodes and files."""

from __future__ import annotations

from pathlib import Path

import pytest
from host import trees

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import gated, machine
from nvidia_runtime.generate.options import Generated, Options

NODES = {
    "nvidia-fs0": (500, 0),
    "nvidia-fs1": (500, 1),
    "infiniband/uverbs0": (231, 192),
    "infiniband/rdma_cm": (10, 58),
    "infiniband/issm0": (231, 64),
    "gdrdrv": (510, 0),
    "nvidia-nvswitchctl": (511, 255),
    "nvidia-nvswitch0": (511, 0),
}


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ("gds", ["/dev/nvidia-fs0", "/dev/nvidia-fs1"]),
        ("mofed", ["/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0"]),
        ("gdrcopy", ["/dev/gdrdrv"]),
        ("nvswitch", ["/dev/nvidia-nvswitch0", "/dev/nvidia-nvswitchctl"]),
    ],
)
def test_nodes(gate: str, expected: list[str], tmp_path: Path) -> None:
    for name, (major, minor) in NODES.items():
        trees.mknod(tmp_path / "dev" / name, major, minor)
    edits = gated.edits(gate, "/nowhere", f"{tmp_path}")

    assert [node["path"] for node in edits["deviceNodes"]] == expected
    assert list(edits) == ["deviceNodes"]


@pytest.mark.parametrize("gate", gated.NODES)
def test_nothing_without_nodes(gate: str, tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"etc/cufile.json": "{}", "run/udev/": ""})

    assert gated.edits(gate, root, root) == {}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"etc/cufile.json": "{}", "run/udev/": ""}, ["/etc/cufile.json", "/run/udev"]),
        ({"etc/cufile.json/": "", "run/udev": ""}, None),
        ({}, None),
    ],
)
def test_gds_files(tree: dict[str, str], expected: list[str] | None, tmp_path: Path) -> None:
    root = trees.make(tmp_path / "driver", tree)
    trees.mknod(tmp_path / "dev/nvidia-fs0", 500, 0)
    mounts = gated.edits("gds", root, f"{tmp_path}").get("mounts")

    assert (mounts and [mount["containerPath"] for mount in mounts]) == expected


def test_node_of_a_group(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/gdrdrv", 510, 0, mode=0o660, gid=44)
    node = {
        "path": "/dev/gdrdrv",
        "hostPath": f"{tmp_path}/dev/gdrdrv",
        "major": 510,
        "fileMode": 0o660,
        "permissions": "rwm",
        "gid": 44,
    }

    assert gated.edits("gdrcopy", "/", f"{tmp_path}") == {
        "deviceNodes": [node],
        "additionalGids": [44],
    }
    assert gated.edits("gdrcopy", "/", f"{tmp_path}", False) == {"deviceNodes": [node]}


def test_everybody_may_use_an_open_node_of_a_group(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/gdrdrv", 510, 0, mode=0o666, gid=44)

    assert "additionalGids" not in gated.edits("gdrcopy", "/", f"{tmp_path}")


def spec_of(gate: str, root: Path) -> Generated:
    return machine.generate(Options(gate).but(driver_root=f"{root}", kernel_root=f"{root}"))


@pytest.mark.parametrize("gate", gated.NODES)
def test_a_spec_has_one_device(gate: str, tmp_path: Path) -> None:
    for name, (major, minor) in NODES.items():
        trees.mknod(tmp_path / "dev" / name, major, minor)
    generated = spec_of(gate, tmp_path)
    root = f"{tmp_path}"

    assert generated.spec["devices"] == [
        {"name": "all", "containerEdits": gated.edits(gate, root, root)},
    ]
    assert generated.spec["containerEdits"] == {"env": ["NVIDIA_VISIBLE_DEVICES=void"]}


def test_what_may_change_a_spec(tmp_path: Path) -> None:
    trees.mknod(tmp_path / "dev/nvidia-fs0", 500, 0)

    assert spec_of("gds", tmp_path).watched == [
        f"{tmp_path}/dev",
        f"{tmp_path}/etc/cufile.json",
        f"{tmp_path}/run/udev",
    ]


@pytest.mark.parametrize("gate", gated.NODES)
def test_no_spec_without_nodes(gate: str, tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match=f"no device nodes of {gate} found: ") as caught:
        spec_of(gate, tmp_path)

    assert gated.NODES[gate][0] in str(caught.value)
