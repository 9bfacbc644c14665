# SPDX-License-Identifier: Apache-2.0
"""PCI devices in /sys: what is read of each, and what is missing or cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.tree import Folder, Symlink, Tree
from nvidia_runtime.topology import sysfs
from nvidia_runtime.topology.sysfs import NumaNode, PciDevice

from .machines import BUS, GPU, NETWORK, device, nodes

PLACE = "pci0000:00/0000:00:01.0/0000:01:00.0"
FOLDER = f"/sys/devices/{PLACE}"


def read(files: Tree, folder: Path) -> list[PciDevice]:
    root = os.fspath(folder / "machine")
    trees.create(files, root)
    return sysfs.pci_devices(root)


def test_all_that_a_device_says(tmp_path: Path) -> None:
    link = {"current_link_speed": "32.0 GT/s PCIe", "current_link_width": "16"}
    files = device(PLACE, NETWORK, "0x15b3", local_cpulist="0-3", numa_node="1", **link)
    files |= {f"{FOLDER}/net/eth0": Folder(), f"{FOLDER}/infiniband/mlx5_0": Folder()}
    files |= {f"{FOLDER}/virtfn{number}": Folder() for number in range(2)}
    files |= {f"{FOLDER}/driver": Symlink("../../../../bus/pci/drivers/mlx5_core")}

    assert read(files, tmp_path) == [
        PciDevice(
            address="0000:01:00.0",
            path=("pci0000:00", "0000:00:01.0"),
            kind="020000",
            ids="15b3:1234",
            numa_node=1,
            cpus="0-3",
            driver="mlx5_core",
            link="32 GT/s x16",
            interfaces=("eth0",),
            rdma_devices=("mlx5_0",),
            virtual_functions=2,
        )
    ]


def test_interface_of_virtio_is_one_folder_deeper(tmp_path: Path) -> None:
    files = device(PLACE, NETWORK, "0x1af4") | {f"{FOLDER}/virtio3/net/eth0": Folder()}

    assert read(files, tmp_path)[0].interfaces == ("eth0",)


def test_virtual_functions_are_left_out(tmp_path: Path) -> None:
    files = device(PLACE) | {f"{FOLDER}/physfn": Symlink("../0000:01:00.1")}

    assert read(files, tmp_path) == []


@pytest.mark.parametrize("speed", ["Unknown", "2.5", "\x1b[31m GT/s PCIe", ""])
def test_link_that_is_not_known(speed: str, tmp_path: Path) -> None:
    files = device(PLACE, current_link_speed=speed, current_link_width="16")

    assert read(files, tmp_path)[0].link == ""


@pytest.mark.parametrize(("width", "link"), [("4", "8 GT/s x4"), ("0", ""), ("255", ""), ("x", "")])
def test_width_of_a_link(width: str, link: str, tmp_path: Path) -> None:
    files = device(PLACE, current_link_speed="8.0 GT/s PCIe", current_link_width=width)

    assert read(files, tmp_path)[0].link == link


def test_link_of_a_sleeping_device_is_not_read(tmp_path: Path) -> None:
    """Newer kernels wake it for that."""
    link = {"current_link_speed": "32.0 GT/s PCIe", "current_link_width": "16"}
    files = device(PLACE, **link) | {f"{FOLDER}/power/runtime_status": trees.text("suspended\n")}

    (one,) = read(files, tmp_path)

    assert (one.is_asleep, one.link) == (True, "")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pci0000:00/0000:01:00.0", ("pci0000:00",)),
        ("platform/1.pcie/pci0008:00/0008:00:00.0/0000:01:00.0", ("pci0008:00", "0008:00:00.0")),
        (
            "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0",
            ("pci10000:e0", "10000:e0:06.0"),
        ),
        ("elsewhere/0000:01:00.0", ()),
    ],
    ids=["on the root bus", "on a SoC", "a domain of VMD's", "no bus"],
)
def test_path(path: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    assert read(device(path), tmp_path)[0].path == expected


def test_folder_in_place_of_a_link_has_no_path(tmp_path: Path) -> None:
    files: Tree = {f"{BUS}/0000:01:00.0/class": trees.text(f"{GPU}\n")}

    assert read(files, tmp_path) == [PciDevice(address="0000:01:00.0", kind="030200")]


@pytest.mark.parametrize("name", ["0000:01:00", "0000:01:00.8", "\x1b[31m", "0000:01:00.0 "])
def test_name_that_is_no_address_is_left_out(name: str, tmp_path: Path) -> None:
    assert read({f"{BUS}/{name}/class": trees.text(f"{GPU}\n")}, tmp_path) == []


@pytest.mark.parametrize("said", ["-1", "", "x", "99999999", "\u0661"])
def test_numa_node_that_is_not_known(said: str, tmp_path: Path) -> None:
    assert read(device(PLACE, numa_node=said), tmp_path)[0].numa_node == -1


def test_hostile_values_are_not_ids(tmp_path: Path) -> None:
    files = device(PLACE, kind="0x03\x1b[2J", vendor="0xGGGG")

    (one,) = read(files, tmp_path)

    assert (one.kind, one.ids) == ("", "1234")


def test_nothing_is_there(tmp_path: Path) -> None:
    root = os.fspath(tmp_path)

    assert sysfs.pci_devices(root) == []
    assert sysfs.numa_nodes(root) == []


def test_device_that_vanishes_has_no_facts(tmp_path: Path) -> None:
    files: Tree = {f"{BUS}/0000:01:00.0": Symlink(f"../../../devices/{PLACE}")}

    assert read(files, tmp_path) == [
        PciDevice(address="0000:01:00.0", path=("pci0000:00", "0000:00:01.0"))
    ]


def test_longer_domains_come_last(tmp_path: Path) -> None:
    places = ["pci10000:e0/10000:e1:00.0", "pci0000:00/0000:0a:00.0", "pci0000:00/0000:09:00.0"]
    files = {path: entry for place in places for path, entry in device(place).items()}

    assert [one.address for one in read(files, tmp_path)] == [
        *("0000:09:00.0", "0000:0a:00.0", "10000:e1:00.0")
    ]


def test_numa_nodes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    files = nodes("0-3", "4-7", *[""] * 9) | {"/sys/devices/system/node/nodex": Folder()}
    trees.create(files, os.fspath(tmp_path / "machine"))

    numa_nodes = sysfs.numa_nodes(os.fspath(tmp_path / "machine"))

    assert numa_nodes[:2] == [NumaNode(number=0, cpus="0-3"), NumaNode(number=1, cpus="4-7")]
    assert [node.number for node in numa_nodes] == [*range(11)]
