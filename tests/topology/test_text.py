# SPDX-License-Identifier: Apache-2.0
"""The tree and the table for a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.tree import Folder, Tree
from nvidia_runtime.topology import text

from .machines import BUS, NETWORK, device, nodes, of_driver, of_files, of_simulated

EXPECTED = Path(__file__).parent / "expected"
ADDRESS = "0000:01:00.0"
PLACE = f"pci0000:00/{ADDRESS}"
FOLDER = f"/sys/devices/{PLACE}"


@pytest.mark.parametrize("name", ["h100x8", "a100x8mig"])
def test_whole_text(name: str) -> None:
    said = "".join(f"{line}\n" for line in text.lines(of_simulated(name)))

    assert said == (EXPECTED / f"{name}.txt").read_text()


def test_small_machine() -> None:
    assert text.lines(of_simulated("t4x1")) == [
        "NUMA node 0, CPUs 0-3",
        "├─ 0000:00:05.0  NIC 0  Amazon 1d0f:ec20              ens5",
        "└─ 0000:00:1e.0  GPU 0  Tesla T4          8 GT/s x16  /dev/nvidia0"
        "  GPU-de566282-43e0-59b1-bccd-b3623a2d0f99",
        "",
        "            GPU 0",
        "GPU 0       X",
        "NIC 0 ens5  PHB",
        "",
        "PHB   a PCIe host bridge: the CPU",
    ]


@pytest.mark.parametrize("name", ["h100x8", "a100x8mig", "gb200x4"])
def test_screen_is_wide_enough(name: str) -> None:
    assert max(map(len, text.lines(of_simulated(name)))) <= 130


def test_without_lines_it_is_ascii() -> None:
    lines = text.lines(of_simulated("a100x8mig"), text.ASCII)

    assert [line for line in lines if not line.isascii()] == []
    assert [len(line) for line in lines] == [
        len(line) for line in text.lines(of_simulated("a100x8mig"))
    ]


def test_machine_without_gpu() -> None:
    lines = text.lines(of_simulated("nogpu"))

    assert lines == [
        "There is no GPU of NVIDIA's on a PCI bus of this machine.",
        "/sys/bus/pci/devices shows no PCI device here.",
    ]


def test_what_is_special_about_a_device_is_said(tmp_path: Path) -> None:
    files = nodes("0-3") | device(PLACE, NETWORK, "0x15b3")
    files |= {f"{FOLDER}/virtfn{number}": Folder() for number in range(16)}
    files |= {f"{FOLDER}/power/runtime_status": trees.text("suspended\n")}

    assert text.lines(of_files(files, tmp_path))[1] == (
        "└─ 0000:01:00.0  NIC 0  Mellanox 15b3:1234  no interface  asleep, 16 virtual functions"
    )


HOSTILE = "\x1b]0;title\x07\u202e"
HOSTILE_NAME = HOSTILE.replace("/", "")


@pytest.mark.parametrize(
    "files",
    [
        nodes("0-3" + HOSTILE) | device(PLACE),
        device(PLACE, local_cpulist=HOSTILE) | of_driver(ADDRESS, Model=HOSTILE),
        device(PLACE) | of_driver(ADDRESS, **{"GPU UUID": HOSTILE}),
        device(PLACE) | {f"{FOLDER}/driver": trees.Symlink(f"../{HOSTILE_NAME}")},
        device(PLACE, NETWORK) | {f"{FOLDER}/net/{HOSTILE_NAME}": Folder()},
        device(PLACE, NETWORK) | {f"{FOLDER}/infiniband/{HOSTILE_NAME}": Folder()},
        device(PLACE, current_link_speed=f"{HOSTILE} GT/s", current_link_width="16"),
        {f"{BUS}/{HOSTILE_NAME}": Folder()},
    ],
    ids=["CPUs", "model", "UUID", "driver", "interface", "RDMA device", "link", "address"],
)
def test_nothing_of_the_kernels_obeys_the_terminal(files: Tree, tmp_path: Path) -> None:
    said = text.lines(of_files(files, tmp_path))

    assert said
    assert [line for line in said if not line.isprintable()] == []
