# SPDX-License-Identifier: Apache-2.0
"""What ``nvidia-smi topo -m`` prints is read, and a difference is seen."""

from __future__ import annotations

import pytest

from gpu import places

SAID = """\
\t\x1b[4mGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV18\tPIX\t0-47,96-143\t0\t\tN/A
GPU1\tNV18\t X \tSYS\t48-95,144-191\t1\t\tN/A
NIC0\tPIX\tSYS\t X \t\t\t\t

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes

NIC Legend:

  NIC0: mlx5_0
"""
DOCUMENT = {
    "gpus": [
        {"index": 0, "relations": ["X", "SYS"]},
        {"index": 1, "relations": ["SYS", "X"]},
    ],
    "nics": [
        {"rdma_devices": [], "relations": ["NODE", "NODE"]},
        {"rdma_devices": ["mlx5_0"], "relations": ["PIX", "SYS"]},
    ],
}


def test_table_is_read() -> None:
    assert places.of_text(SAID) == {
        ("GPU0", "GPU0"): "X",
        ("GPU0", "GPU1"): "NV18",
        ("GPU1", "GPU0"): "NV18",
        ("GPU1", "GPU1"): "X",
        ("mlx5_0", "GPU0"): "PIX",
        ("mlx5_0", "GPU1"): "SYS",
    }


def test_agreement() -> None:
    assert places.compare(DOCUMENT, SAID).startswith("6 pairs\n")


def test_difference_is_named() -> None:
    with pytest.raises(AssertionError) as error:
        places.compare(DOCUMENT, SAID.replace("NIC0\tPIX", "NIC0\tPXB"))

    assert str(error.value).startswith("mlx5_0 and GPU0: PIX, not PXB\n")


def test_nothing_in_common_is_no_agreement() -> None:
    with pytest.raises(AssertionError, match="nothing in common"):
        places.compare(DOCUMENT, "No devices were found\n")
