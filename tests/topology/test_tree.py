# SPDX-License-Identifier: Apache-2.0
"""NUMA nodes, bridges and devices as a tree."""

from __future__ import annotations

from pathlib import Path

from nvidia_runtime.simulate.tree import Tree
from nvidia_runtime.topology import picture, text, tree
from nvidia_runtime.topology.tree import Branch, Child

from .machines import BRIDGE, NETWORK, device, nodes, of_driver, of_files, of_simulated

PORT = "pci0000:00/0000:00:01.0"
SWITCH = f"{PORT}/0000:01:00.0"


def outline(children: tuple[Child, ...]) -> list[object]:
    """Return the names of devices, and lists of those below bridges."""
    return [
        [child.bridge.device.address, *outline(child.children)]
        if isinstance(child, Branch)
        else child.name
        for child in children
    ]


def switch() -> Tree:
    """Return a switch with two ports."""
    files = device(PORT, BRIDGE, "0x8086") | device(SWITCH, BRIDGE, "0x1000")
    for number in range(2):
        files |= device(f"{SWITCH}/0000:02:0{number}.0", BRIDGE, "0x1000")
    return files


def test_what_is_at_a_port_is_below_its_switch(tmp_path: Path) -> None:
    files = nodes("0-3") | switch() | device(f"{SWITCH}/0000:02:01.0/0000:03:00.0")
    files |= device(f"{SWITCH}/0000:02:00.0/0000:04:00.0", NETWORK, "0x15b3")

    (group,) = tree.groups(of_files(files, tmp_path))

    assert outline(group.children) == [["0000:00:01.0", ["0000:01:00.0", "NIC 0", "GPU"]]]


def test_switch_below_a_switch() -> None:
    groups = tree.groups(of_simulated("a100x8"))

    assert [group.node.number for group in groups] == [1, 2, 3, 4, 5, 7]
    assert outline(groups[0].children) == [
        ["0000:40:01.1", ["0000:41:00.0", ["0000:43:00.0", "GPU 2", "GPU 3"], "NIC 2", "NIC 3"]]
    ]
    assert [node.number for node in tree.empty_nodes(of_simulated("a100x8"))] == [0, 6]


def test_bridges_that_lead_only_to_one_another() -> None:
    (branch, *_) = tree.groups(of_simulated("a100x8"))[0].children
    assert isinstance(branch, Branch)

    chain = [one.bridge.device.address for one in tree.single(branch)]

    assert chain == ["0000:40:01.1", "0000:41:00.0"]


def test_bridge_that_is_not_in_sys(tmp_path: Path) -> None:
    files = nodes("0-3") | device(f"{SWITCH}/0000:02:00.0/0000:03:00.0")

    (group,) = tree.groups(of_files(files, tmp_path))

    assert outline(group.children) == ["GPU"]


def test_devices_without_a_place_come_last(tmp_path: Path) -> None:
    """As a GPU that has fallen off the bus, and is not in /sys any more."""
    files = device("pci0000:00/0000:00:03.0", NETWORK, "0x8086") | of_driver("0000:09:00.0")
    topology = of_files(files, tmp_path)

    assert [outline(group.children) for group in tree.groups(topology)] == [["NIC 0"], ["GPU 0"]]
    assert any("not in /sys" in line or "no device node" in line for line in text.lines(topology))
    assert "GPU 0" in picture.of(topology)
