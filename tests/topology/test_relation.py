# SPDX-License-Identifier: Apache-2.0
"""What is between two devices, as ``nvidia-smi topo -m`` says it."""

from __future__ import annotations

import pytest

from nvidia_runtime.topology import relation
from nvidia_runtime.topology.sysfs import PciDevice

ROOT, OTHER_ROOT = "pci0000:00", "pci0000:80"
PORT, SECOND_PORT = "0000:00:01.0", "0000:00:02.0"
SWITCH, DOWN_0, DOWN_1 = "0000:01:00.0", "0000:02:00.0", "0000:02:01.0"
INNER, INNER_DOWN = "0000:03:00.0", "0000:04:00.0"


def device(address: str, *path: str, node: int = 0) -> PciDevice:
    return PciDevice(address=address, path=path, numa_node=node)


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        pytest.param((ROOT, PORT), (ROOT, PORT), "PIX", id="functions of one device"),
        pytest.param(
            (ROOT, PORT, SWITCH, DOWN_0), (ROOT, PORT, SWITCH, DOWN_1), "PIX", id="one switch"
        ),
        pytest.param(
            (ROOT, PORT, SWITCH, DOWN_0, INNER, INNER_DOWN),
            (ROOT, PORT, SWITCH, DOWN_1),
            "PXB",
            id="a switch below the other",
        ),
        pytest.param(
            (ROOT, PORT, SWITCH, DOWN_0, INNER, INNER_DOWN),
            (ROOT, PORT, SWITCH, DOWN_0, INNER, "0000:04:01.0"),
            "PIX",
            id="both at the inner switch",
        ),
        pytest.param((ROOT, PORT), (ROOT, SECOND_PORT), "PHB", id="two ports of a host bridge"),
        pytest.param((ROOT,), (ROOT,), "PHB", id="both on the root bus"),
        pytest.param((ROOT,), (ROOT, PORT, SWITCH, DOWN_0), "PHB", id="one on the root bus"),
        pytest.param((ROOT, PORT), (OTHER_ROOT, PORT), "NODE", id="two host bridges"),
        pytest.param((), (ROOT, PORT), "NODE", id="a path that is not known"),
        pytest.param((), (), "NODE", id="no path at all"),
    ],
)
def test_word(one: tuple[str, ...], other: tuple[str, ...], word: str) -> None:
    first, second = device("0000:0a:00.0", *one), device("0000:0b:00.0", *other)

    assert relation.between(first, second) == word
    assert relation.between(second, first) == word


def test_other_numa_node() -> None:
    near, far = device("0000:0a:00.0", ROOT), device("0000:8a:00.0", OTHER_ROOT, node=1)

    assert relation.between(near, far) == "SYS"


def test_same_device() -> None:
    assert relation.between(device("0000:0a:00.0", ROOT), device("0000:0a:00.0", ROOT)) == "X"


def test_each_word_has_a_meaning() -> None:
    assert list(relation.MEANINGS) == ["X", "PIX", "PXB", "PHB", "NODE", "SYS"]
