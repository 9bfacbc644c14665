# SPDX-License-Identifier: Apache-2.0
"""What is between GPUs, and between network adapters and GPUs, as tables in the picture."""

from __future__ import annotations

from collections.abc import Sequence

from nvidia_runtime.topology import relation, svg
from nvidia_runtime.topology.devices import Gpu, Nic, Topology

ROW, HEAD, PAD = 24, 66, 14
MOST_CELL, LEAST_CELL, CHIP = 60, 40, 48
BETWEEN, INSET = 16, 2

Place = tuple[float, float, float, float]
Table = tuple[str, Sequence[Gpu | Nic]]


def draw(topology: Topology, x: float, y: float, width: float) -> tuple[list[str], float]:
    """Return the tables, beside each other where they fit, their legend, and where they end."""
    gpus = [gpu for gpu in topology.gpus if gpu.device.path]
    tables = _tables(gpus, topology.nics)
    half = (width - BETWEEN) / 2
    least = max((_label(rows) for _, rows in tables), default=0) + len(gpus) * LEAST_CELL
    is_beside = len(tables) == 2 and half >= least + 2 * PAD
    sizes = [HEAD + len(rows) * ROW + PAD for _, rows in tables]
    marks: list[str] = []
    for number, (table, size) in enumerate(zip(tables, sizes, strict=True)):
        if is_beside:
            marks += _table(table, gpus, (x + number * (half + BETWEEN), y, half, max(sizes)))
        else:
            marks += _table(table, gpus, (x, y, width, size))
            y += size + BETWEEN
    y += max(sizes) + BETWEEN if is_beside else 0
    words = {
        relation.between(row.device, gpu.device)
        for _, rows in tables
        for row in rows
        for gpu in gpus
    }
    legend, y = _legend([word for word in relation.MEANINGS if word in words], (x, y, width))
    return [*marks, *legend], y


def _tables(gpus: list[Gpu], nics: tuple[Nic, ...]) -> list[Table]:
    tables: list[Table] = [("Between GPUs", gpus)] if len(gpus) > 1 else []
    if gpus and nics:
        tables.append(("Between network adapters and GPUs", nics))
    return tables


def _table(table: Table, gpus: list[Gpu], place: Place) -> list[str]:
    x, y, width, _ = place
    title, rows = table
    label = _label(rows)
    cell = min(MOST_CELL, (width - 2 * PAD - label) / len(gpus))
    left, top = x + PAD + label, y + HEAD
    marks = [svg.box(place, "panel", round_by=10), svg.text(x + PAD, y + 25, title, "h2")]
    for column, gpu in enumerate(gpus):
        middle = left + (column + 0.5) * cell
        marks.append(
            svg.text(middle, top - 8, svg.fitted(gpu.name, "cell", cell), "cell", "middle")
        )
    for number, row in enumerate(rows):
        line = top + number * ROW
        marks.append(svg.text(x + PAD, line + 16, row.name, "cell"))
        marks.append(svg.text(left - 8, line + 16, _alias(row), "fine", "end"))
        for column, gpu in enumerate(gpus):
            word = relation.between(row.device, gpu.device)
            marks += _cell(word, (left + column * cell, line, cell, ROW))
    return marks


def _cell(word: str, place: Place) -> list[str]:
    x, y, width, height = place
    area = (x + INSET, y + INSET, width - 2 * INSET, height - 2 * INSET)
    is_wide = svg.measured(word, "cell") <= area[2]  # else the colour says it
    said = word if is_wide and word != relation.SAME else ""
    return [
        svg.box(area, word, round_by=4),
        svg.text(x + width / 2, y + 16, said, "cell", "middle"),
    ]


def _label(rows: Sequence[Gpu | Nic]) -> float:
    """Return the width of the names of rows."""
    names = [svg.measured(row.name, "cell") + svg.measured(_alias(row), "fine") for row in rows]
    return max(names, default=0) + 16


def _alias(row: Gpu | Nic) -> str:
    """Return the other name of a row."""
    names = (*row.device.rdma_devices, *row.device.interfaces)
    return svg.fitted(names[0], "fine", 90) if names and isinstance(row, Nic) else ""


def _legend(words: list[str], place: tuple[float, float, float]) -> tuple[list[str], float]:
    """Return what the words mean, as many in a line as fit."""
    left, y, width = place
    x = left
    marks: list[str] = []
    shown = [word for word in words if word != relation.SAME]
    for word in shown:
        meaning = relation.MEANINGS[word]
        size = CHIP + 8 + svg.measured(meaning, "soft") + BETWEEN
        if x > left and x + size - BETWEEN > left + width:
            x, y = left, y + ROW
        marks += _cell(word, (x - INSET, y, CHIP, ROW))
        marks.append(svg.text(x + CHIP + 6, y + 16, meaning, "soft"))
        x += size
    return marks, y + ROW + BETWEEN if shown else y
