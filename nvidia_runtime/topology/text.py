# SPDX-License-Identifier: Apache-2.0
"""A topology for a terminal: a tree, and a table of what is between devices."""

from __future__ import annotations

from nvidia_runtime.log import shown
from nvidia_runtime.topology import relation, tree, words
from nvidia_runtime.topology.devices import Gpu, Leaf, Nic, Topology
from nvidia_runtime.topology.tree import Branch, Child

Columns = tuple[int, ...]
Marks = tuple[str, str, str, str]
# What stands before a child, the last child, and what is below them.
LINES = ("├─ ", "└─ ", "│  ", "   ")
ASCII = ("|- ", "`- ", "|  ", "   ")


def lines(topology: Topology, marks: Marks = LINES) -> list[str]:
    """Return the lines of the text; ``marks`` are those of `LINES` or `ASCII`."""
    page: list[str] = []
    columns = _widths(topology)
    for group in tree.groups(topology):
        name, has = words.node(group.node)
        page.append(f"{name}, {has}" if has else name)
        page += _below(group.children, "", marks, columns)
    if empty := tree.empty_nodes(topology):
        page.append(f"{words.numbers(empty)}: no GPU, no network adapter")
    parts = [page, _table(topology), [shown(note) for note in topology.notes]]
    return [line for part in filter(None, parts) for line in ("", *part)][1:]


def _below(children: tuple[Child, ...], before: str, marks: Marks, columns: Columns) -> list[str]:
    rows: list[str] = []
    for number, child in enumerate(children):
        is_last = number == len(children) - 1
        rows.append(before + marks[is_last] + _said(child, columns))
        below = before + marks[2 + is_last]
        if isinstance(child, Branch):
            rows += _below(child.children, below, marks, columns)
        elif isinstance(child, Gpu):
            rows += _migs(child, below, marks)
    return rows


def _said(child: Child, columns: Columns) -> str:
    if isinstance(child, Branch):
        return f"{child.bridge.device.address}  {child.bridge.role}"
    cells = [text.ljust(width) for text, width in zip(_cells(child), columns, strict=True)]
    parts = [child.device.address, *cells, *_facts(child), words.state(child)]
    return "  ".join(filter(None, parts)).rstrip()


def _facts(leaf: Leaf) -> list[str]:
    if isinstance(leaf, Gpu):
        return [leaf.node, shown(leaf.uuid)]
    return [words.names(leaf)] if isinstance(leaf, Nic) else []


def _migs(gpu: Gpu, before: str, marks: Marks) -> list[str]:
    return [
        before
        + marks[number == len(gpu.migs) - 1]
        + "  ".join(filter(None, (*words.mig_device(gpu, device), shown(device.uuid))))
        for number, device in enumerate(gpu.migs)
    ]


def _cells(leaf: Leaf) -> tuple[str, str, str]:
    """Return what is in columns."""
    return leaf.name, words.model(leaf), leaf.device.link


def _widths(topology: Topology) -> Columns:
    cells = [_cells(leaf) for leaf in topology.leaves]
    return tuple(max((len(row[column]) for row in cells), default=0) for column in range(3))


def _table(topology: Topology) -> list[str]:
    """Return what is between each GPU and all other devices, and what the words mean."""
    gpus = [gpu for gpu in topology.gpus if gpu.device.path]
    rows: list[Gpu | Nic] = [*gpus, *topology.nics]
    if len(rows) < 2 or not gpus:
        return []
    names = [f"{row.name} {words.names(row)}" if isinstance(row, Nic) else row.name for row in rows]
    width = max(map(len, names))
    cells = [[relation.between(row.device, gpu.device) for gpu in gpus] for row in rows]
    columns = [max(len(gpu.name), 4) for gpu in gpus]
    table = [_row("", [gpu.name for gpu in gpus], width, columns)]
    table += [_row(name, row, width, columns) for name, row in zip(names, cells, strict=True)]
    used = {cell for row in cells for cell in row}
    meanings = [
        f"{word.ljust(4)}  {meaning}"
        for word, meaning in relation.MEANINGS.items()
        if word in used - {relation.SAME}
    ]
    return [*table, "", *meanings]


def _row(name: str, cells: list[str], width: int, columns: list[int]) -> str:
    padded = [cell.ljust(column) for cell, column in zip(cells, columns, strict=True)]
    return "  ".join([name.ljust(width), *padded]).rstrip()
