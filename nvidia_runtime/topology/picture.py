# SPDX-License-Identifier: Apache-2.0
"""A topology as a picture: NUMA nodes as panels, bridges as frames in them, devices as cards."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nvidia_runtime.topology import cards, matrix, svg, tree, words
from nvidia_runtime.topology.cards import GAP, PAD, Row
from nvidia_runtime.topology.devices import Topology
from nvidia_runtime.topology.tree import Branch, Child

MARGIN, BETWEEN = 24, 16
PANEL = 540
PANEL_HEAD, GROUP_HEAD = 40, 30
HEAD = 56


@dataclass(frozen=True, slots=True)
class Panel:
    """A NUMA node, or some without devices, and what it has."""

    name: str
    has: str
    children: tuple[Child, ...] = ()


def of(topology: Topology) -> str:
    """Return the picture as an SVG."""
    panels = [Panel(*words.node(group.node), group.children) for group in tree.groups(topology)]
    if empty := tree.empty_nodes(topology):
        panels.append(Panel(words.numbers(empty), "no GPU, no network adapter"))
    count = min(2, len(panels)) or 1
    inner = count * PANEL + (count - 1) * BETWEEN
    marks = [
        svg.text(MARGIN, MARGIN + 17, "Topology", "h1"),
        svg.text(MARGIN, MARGIN + 38, svg.fitted(words.counts(topology), "soft", inner), "soft"),
    ]
    drawn, y = _panels(panels, count, MARGIN + HEAD)
    tables, y = matrix.draw(topology, MARGIN, y + BETWEEN, inner)
    marks += [*drawn, *tables]
    for note in topology.notes:
        marks.append(svg.text(MARGIN, y + 8, svg.fitted(note, "said", inner), "said"))
        y += 8 + BETWEEN
    height = math.ceil(y + MARGIN - BETWEEN)
    return svg.page(inner + 2 * MARGIN, height, f"Topology: {words.counts(topology)}", marks)


def _panels(panels: list[Panel], count: int, top: float) -> tuple[list[str], float]:
    """Draw the panels, each in the column that ends first; return where the last one ends.

    What a column lacks is shared out among its panels, so that columns end together.
    """
    columns: list[list[tuple[Panel, float]]] = [[] for _ in range(count)]
    ends = [top] * count
    for panel in panels:
        number = ends.index(min(ends))
        inner = _height(panel.children, PANEL - 2 * PAD)
        size = PANEL_HEAD + (inner + PAD if panel.children else 0)
        columns[number].append((panel, size))
        ends[number] += size + BETWEEN
    marks: list[str] = []
    for number, column in enumerate(columns):
        y = top
        wide = [panel for panel, _ in column if panel.children]
        share = (max(ends) - ends[number]) / max(len(wide), 1)
        for panel, least in column:
            size = least + (share if panel.children else 0)
            marks += _panel(panel, (MARGIN + number * (PANEL + BETWEEN), y, PANEL, size))
            y += size + BETWEEN
    return marks, max(ends) - BETWEEN


def _panel(panel: Panel, place: tuple[float, float, float, float]) -> list[str]:
    x, y, width, _ = place
    name = svg.fitted(panel.name, "h2", width * 0.6)
    room = width - 2 * PAD - svg.measured(name, "h2") - GAP
    return [
        svg.box(place, "panel", round_by=10),
        svg.text(x + PAD + 2, y + 25, name, "h2"),
        svg.text(x + width - PAD - 2, y + 25, svg.fitted(panel.has, "soft", room), "soft", "end"),
        *_draw(panel.children, (x + PAD, y + PANEL_HEAD, width - 2 * PAD)),
    ]


def _height(children: tuple[Child, ...], width: float) -> float:
    """Return what the rows of children need in a width."""
    heights = [_row_height(row, width) for row in cards.rows(children)]
    return sum(heights) + GAP * max(len(heights) - 1, 0)


def _row_height(row: Row, width: float) -> float:
    if row.branch:
        last = tree.single(row.branch)[-1]
        return GROUP_HEAD + _height(last.children, width - 2 * PAD) + PAD
    return max(cards.height(card, _column(row, width)) for card in row.cards)


def _column(row: Row, width: float) -> float:
    return (width - GAP * (row.columns - 1)) / row.columns


def _draw(children: tuple[Child, ...], place: tuple[float, float, float]) -> list[str]:
    x, y, width = place
    marks: list[str] = []
    for row in cards.rows(children):
        size = _row_height(row, width)
        if row.branch:
            marks += _frame(row.branch, (x, y, width, size))
        column = _column(row, width)
        for number, card in enumerate(row.cards):
            marks.append(cards.draw(card, (x + number * (column + GAP), y, column, size)))
        y += size + GAP
    return marks


def _frame(branch: Branch, place: tuple[float, float, float, float]) -> list[str]:
    """Draw a bridge as a frame around what is below it; those that lead only to it are named."""
    x, y, width, _ = place
    *above, last = tree.single(branch)
    names = [f"{one.bridge.role} {one.bridge.device.address}" for one in above[::-1]]
    role, address = last.bridge.role, last.bridge.device.address
    room = width - 2 * PAD - svg.measured(f"{role} {address} ", "said") - GAP
    more = svg.fitted(", ".join(names), "port", room)
    return [
        svg.box(place, "group", round_by=8),
        svg.line(x + PAD, y + 20, ((role[:1].upper() + role[1:], "said"), (address, "mono"))),
        svg.text(x + width - PAD, y + 20, more, "port", "end"),
        *_draw(last.children, (x + PAD, y + GROUP_HEAD, width - 2 * PAD)),
    ]
