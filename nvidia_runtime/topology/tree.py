# SPDX-License-Identifier: Apache-2.0
"""The devices as a tree: NUMA nodes, bridges, and what is below them.

The ports of a switch are left out: what is below one is below the switch.
"""

from __future__ import annotations

from dataclasses import dataclass

from nvidia_runtime.topology import sysfs
from nvidia_runtime.topology.devices import SWITCH_PORT, Bridge, Leaf, Topology
from nvidia_runtime.topology.sysfs import NumaNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A bridge, and what is below it."""

    bridge: Bridge
    children: tuple[Branch | Leaf, ...]


Child = Branch | Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What is at a NUMA node; its number is -1 for what has none."""

    node: NumaNode
    children: tuple[Child, ...]


def groups(topology: Topology) -> list[Group]:
    """List the NUMA nodes that have devices, those without a node last."""
    nodes = {node.number: node for node in topology.numa_nodes}
    by_number: dict[int, list[Leaf]] = {}
    for leaf in topology.leaves:
        by_number.setdefault(leaf.device.numa_node, []).append(leaf)
    return [
        Group(
            node=nodes.get(number, NumaNode(number=number, cpus="")),
            children=_roots(by_number[number], topology),
        )
        for number in sorted(by_number, key=lambda number: (number < 0, number))
    ]


def empty_nodes(topology: Topology) -> list[NumaNode]:
    """List the NUMA nodes without devices."""
    used = {leaf.device.numa_node for leaf in topology.leaves}
    return [node for node in topology.numa_nodes if node.number not in used]


def single(branch: Branch) -> tuple[Branch, ...]:
    """Return a bridge and those below it as long as each has one child, a bridge."""
    below = branch.children[0] if len(branch.children) == 1 else None
    return (branch, *single(below)) if isinstance(below, Branch) else (branch,)


def _roots(leaves: list[Leaf], topology: Topology) -> tuple[Child, ...]:
    bridges = {bridge.device.address: bridge for bridge in topology.bridges}
    paths = [leaf.device.path for leaf in leaves if leaf.device.path]
    buses = sorted({path[0] for path in paths}, key=sysfs.order)
    placed = [child for bus in buses for _, child in _below((bus,), leaves, bridges)]
    return (*placed, *(leaf for leaf in leaves if not leaf.device.path))


def _below(
    path: tuple[str, ...], leaves: list[Leaf], bridges: dict[str, Bridge]
) -> list[tuple[str, Child]]:
    """List what is below a bridge or root bus, by addresses; that of a port is its switch's."""
    depth = len(path)
    inside = [leaf for leaf in leaves if leaf.device.path[:depth] == path]
    children: list[tuple[str, Child]] = [
        (leaf.device.address, leaf) for leaf in inside if len(leaf.device.path) == depth
    ]
    for address in {leaf.device.path[depth] for leaf in inside if len(leaf.device.path) > depth}:
        inner = _below((*path, address), inside, bridges)
        bridge = bridges.get(address)
        if bridge is None or bridge.role == SWITCH_PORT:
            children += [(address, child) for _, child in inner]
        else:
            branch = Branch(bridge=bridge, children=tuple(child for _, child in inner))
            children.append((address, branch))
    return sorted(children, key=lambda entry: sysfs.order(entry[0]))
