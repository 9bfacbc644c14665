# SPDX-License-Identifier: Apache-2.0
"""Containers as a table of 80 columns, as far as they fit."""

from __future__ import annotations

import datetime

from nvidia_runtime.containers.records import Entry
from nvidia_runtime.errors import short

HEAD = ("container", "created", "engine", "state", "devices", "image")
WIDTH = 80
GAP = 2
SHORT_ID = 12  # as engines print it
DEVICES, IMAGE = 4, 5
# The columns that are cut, in this order, and to which width.
CUTS = ((IMAGE, 20), (DEVICES, 9), (IMAGE, 9))
# What need not be said of a device.
USUAL = ("nvidia.com/gpu=", "/dev/")
CUT = "…"


def lines(entries: list[Entry], today: datetime.date) -> list[str]:
    """Return a line for each container, one above them, and one below each that failed."""
    rows = [HEAD, *(_row(entry, today) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for column, least in CUTS:
        over = sum(widths) + GAP * (len(widths) - 1) - WIDTH
        widths[column] -= max(0, min(over, widths[column] - least))
    result: list[str] = []
    for row, entry in zip(rows, [None, *entries], strict=True):
        cells = [_cell(column, row[column], width) for column, width in enumerate(widths)]
        result.append((" " * GAP).join(cells).rstrip())
        if entry and entry.failed:
            result.append(short(f"{' ' * GAP}failed: {entry.failed}", WIDTH - len(CUT)))
    return result


def _row(entry: Entry, today: datetime.date) -> tuple[str, ...]:
    created = datetime.datetime.fromisoformat(entry.time)
    if created.date() == today:
        time = f"{created:%H:%M:%S}"
    elif created.year == today.year:
        time = f"{created:%m-%d %H:%M}"
    else:
        time = f"{created:%Y-%m-%d}"
    is_hexadecimal = len(entry.container) > SHORT_ID and not set(entry.container) - set(
        "0123456789abcdef"
    )
    short = entry.container[:SHORT_ID] if is_hexadecimal else entry.container
    return (
        entry.names[0] if entry.names else short,
        time,
        entry.engine or "-",
        entry.state,
        ",".join(map(_shortened, entry.devices)) or "-",
        entry.image or "-",
    )


def _shortened(device: str) -> str:
    return next((device.removeprefix(usual) for usual in USUAL if device.startswith(usual)), device)


def _cell(column: int, text: str, width: int) -> str:
    """Return a text of a width: of an image the end counts, of devices the beginning."""
    if len(text) <= width:
        return text.ljust(width)
    return CUT + text[1 - width :] if column == IMAGE else text[: width - 1] + CUT
