# SPDX-License-Identifier: Apache-2.0
"""The screen of ``make run``: a diff, a table of reasons, and what a container said."""

from __future__ import annotations

import difflib
import itertools
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

Json = dict[str, Any]
WIDTH = 120
MOST = 24  # so many lines of one kind are shown whole; of more, the first few
GREEN, RED, BOLD, DIM = 32, 31, 1, 2
NAMES = {"devices": "device", "mounts": "mount", "env": "variable"}


class Row(NamedTuple):
    """One thing that went into a container: what, for which CDI device, from which file, if any."""

    kind: str
    thing: str
    device: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where to print: colours on a terminal, long paths by a name, long runs by their start."""

    colours: bool
    full: bool
    short: tuple[tuple[str, str], ...]

    def title(self, text: str) -> None:
        """Begin a section."""
        self.line(text, BOLD)

    def line(self, text: str, colour: int = 0) -> None:
        """Print a line, or as much of it as fits."""
        for path, name in self.short:
            text = text.replace(path, name)
        if len(text) > WIDTH and not self.full:
            text = text[: WIDTH - 1] + "…"
        print(f"\33[{colour}m{text}\33[0m" if colour and self.colours else text)

    def run(self, lines: list[str], what: str, colour: int = 0) -> None:
        """Print lines of one kind."""
        shown = len(lines) if self.full or len(lines) <= MOST else MOST // 2
        for line in lines[:shown]:
            self.line(line, colour)
        if shown < len(lines):
            self.line(f"  … {len(lines) - shown} more {what}; 'make run FULL=1' shows all", DIM)


def pretty(value: Any, key: str = "", depth: int = 0) -> list[str]:
    """Write JSON for a diff: what is deep and fits on a line on one, a comma after every item."""
    pad, text = "  " * depth, json.dumps(value)
    nested = isinstance(value, dict | list) and value
    if not nested or (depth > 2 and len(pad + key + text) < WIDTH and text.count("{") <= 1):
        return [f"{pad}{key}{text},"]
    items = value.items() if isinstance(value, dict) else (("", item) for item in value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inner = [pretty(item, f'"{name}": ' if name else "", depth + 1) for name, item in items]
    return [f"{pad}{key}{opening}", *itertools.chain(*inner), f"{pad}{closing},"]


def show_diff(page: Screen, before: Json, after: Json) -> None:
    """Print what changed in config.json."""
    lines = difflib.unified_diff(pretty(before), pretty(after), n=1, lineterm="")
    colours = {"+": GREEN, "-": RED, "@": DIM}
    for sign, same in itertools.groupby(itertools.islice(lines, 2, None), lambda line: line[0]):
        page.run([f"  {line}" for line in same], "lines", colours.get(sign, 0))


def reasons(record: Json, after: Json) -> list[Row]:
    """List what went in, each with its kind, CDI device and file."""
    nodes = {node["path"]: node for node in after["linux"].get("devices", [])}
    rows = (
        Row(
            kind=NAMES.get(kind, kind),
            thing=describe(kind, value, nodes),
            device=part["device"] or "any device",
            file=part["from"].get("file") or f"({part['from']['generator']})",
        )
        for part in record["injected"]
        for kind, values in part["edits"].items()
        for value in values
    )
    return sorted(rows, key=lambda row: row.kind)


def describe(kind: str, value: Any, nodes: dict[str, Json]) -> str:
    """Name one edit in a few words."""
    if kind == "devices":
        node = nodes[value["path"]]
        return f"{node['path']}  {node['type']} {node.get('major', 0)}:{node.get('minor', 0)}"
    return str(value["destination"] if kind == "mounts" else value)


def show_reasons(page: Screen, rows: list[Row]) -> None:
    """Print the table of what went in and why."""
    things = max((len(row.thing) for row in rows), default=0)
    devices = max((len(row.device) for row in rows), default=0)
    for kind, same in itertools.groupby(rows, lambda row: row.kind):
        lines = [f"{row.thing:{things}} <- {row.device:{devices}}  {row.file}" for row in same]
        page.run([f"  {kind:8}  {line}" for line in lines], f"of kind {kind}")


def show_sight(page: Screen, said: str, rows: list[Row]) -> None:
    """Print what the container printed; what went in is coloured."""
    new = {row.thing.split()[0].removeprefix("/dev/") for row in rows}
    parts = said.splitlines()
    for is_new, lines in itertools.groupby(parts, lambda line: bool(new & set(line.split()))):
        page.run([f"  {line}" for line in lines], "lines", GREEN if is_new else 0)
