# SPDX-License-Identifier: Apache-2.0
"""What is on the way between two PCI devices, in the words of ``nvidia-smi topo -m``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.topology.sysfs import PciDevice

SAME, PIX, PXB, PHB, NODE, SYS = "X", "PIX", "PXB", "PHB", "NODE", "SYS"
# Nearest first.
MEANINGS = {
    SAME: "the same device",
    PIX: "one PCIe switch or bridge at most",
    PXB: "several PCIe switches or bridges, no CPU",
    PHB: "a PCIe host bridge: the CPU",
    NODE: "several host bridges of one NUMA node",
    SYS: "the link between NUMA nodes",
}


def between(one: PciDevice, other: PciDevice) -> str:
    """Return the word for two devices."""
    if one.address == other.address:
        return SAME
    shared = _shared(one.path, other.path)
    if shared == 0:  # the same root bus is missing, or not known
        return NODE if one.numa_node == other.numa_node else SYS
    if shared == 1:
        return PHB
    # At a switch, each has one port of its own below the one that they share.
    return PIX if max(len(one.path), len(other.path)) - shared <= 1 else PXB


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many steps from the root two ways have in common."""
    steps = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        steps += 1
    return steps
