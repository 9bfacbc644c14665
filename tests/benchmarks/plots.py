# SPDX-License-Identifier: Apache-2.0
"""``make bench-plots``: draw what ``scale.py`` has measured, and put its table into BENCHMARKS.md.

A picture a question, readable on light pages and on dark ones: colours follow the reader's scheme
where a browser shows it, and its background is its own everywhere.  Needs matplotlib.
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import results, scale, tables

PICTURES = results.TREE / "packaging" / "pictures"
LICENCE = "<!-- SPDX-License-Identifier: Apache-2.0 -->"
TITLES = {
    "devices": ("A create, by the devices of a spec", "devices (three nodes each)"),
    "mounts": ("A create, by the mounts of a device", "mounts"),
    "specs": ("A create, by other CDI specs on the machine", "specs"),
    "at-once": ("Creates at once", "creates at once, on {cores} cores"),
}
# Each colour of a light page, and what takes its place on a dark one.
PAPER, INK, GRID = "#ffffff", "#24292f", "#d0d7de"
LINES = ("#0969da", "#bc4c00", "#1a7f37")
DARK = dict(
    zip(
        (PAPER, INK, GRID, *LINES),
        ("#0d1117", "#e6edf3", "#30363d", "#58a6ff", "#f0883e", "#3fb950"),
        strict=True,
    )
)
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": results.NAME,  # the same names of clips in each run
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
MARKERS = "os^"


def draw(question: str, answers: list[dict[str, Any]], cores: int) -> str:
    """Return a picture: time at the left, memory at the right."""
    import matplotlib as mpl  # installed for this target alone
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    mpl.use("svg")
    title, label = TITLES[question]
    with mpl.rc_context(STYLE):
        figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        for series, colour, marker in zip(answers, LINES, MARKERS, strict=False):
            counts, p50, p99, sizes = (
                [point[name] for point in series["points"]]
                for name in ("count", "p50", "p99", "memory")
            )
            look = {"color": colour, "marker": marker, "markersize": 4}
            time.plot(counts, p50, label=series["name"], **look)
            time.plot(counts, p99, linestyle=":", linewidth=1.2, **{**look, "markersize": 0})
            memory.plot(counts, sizes, **look)
        time.set_title("ms: median, and dotted the 99th percentile")
        memory.set_title("MB: peak memory of one create")
        for axes in (time, memory):
            axes.set_xscale("log")
            axes.set_xlabel(label.format(cores=cores))
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.xaxis.set_minor_locator(ticker.NullLocator())
        time.set_yscale("log")
        time.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        time.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
        time.yaxis.set_minor_locator(ticker.NullLocator())
        memory.set_ylim(0, 1.1 * memory.get_ylim()[1])
        if len(answers) > 1:
            figure.legend(loc="outside lower left", ncols=len(answers))
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return dress(file.getvalue(), title)


def dress(svg: str, title: str) -> str:
    """Return a picture of matplotlib's with a licence, a name, and the colours of dark pages.

    What an element looks like becomes a class, since what it says itself no stylesheet overrules.
    """
    looks: dict[str, str] = {}

    def named(style: re.Match[str]) -> str:
        return f'class="{looks.setdefault(style[1], f"l{len(looks)}")}"'

    body = re.sub(r'style="([^"]*)"', named, svg)
    light = "".join(f".{name} {{ {look} }}\n" for look, name in looks.items())
    dark = re.sub("#[0-9a-f]{6}", lambda colour: DARK[colour[0]], light)
    style = f"<style>\n{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n</style>\n"
    start = body.index("<svg ")
    inside = body.index(">", start) + 1
    head = body[start:inside].replace("<svg ", f'<svg role="img" aria-label="{title}" ')
    text = f"{head}\n{LICENCE}\n{style}{body[inside:]}"
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def table(questions: dict[str, list[dict[str, Any]]]) -> str:
    """Lay out the ends of each line, and how it grows at its last."""
    lines = [
        "| | count | median, ms | 99th percentile, ms | peak memory, MB | the median grows as |",
        "|---|---|---|---|---|---|",
    ]
    for question, answers in questions.items():
        for series in answers:
            first, last = series["points"][0], series["points"][-1]
            cells = [f"{question}: {series['name']}", f"{first['count']} to {last['count']:,}"]
            for name in ("p50", "p99", "memory"):
                cells.append(f"{first[name]:.1f} to {last[name]:.1f}")
            lines.append(f"| {' | '.join(cells)} | n^{series['growth']:.1f} |")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Write the pictures, and the table."""
    measured = json.loads(scale.FILE.read_text())
    for question, answers in measured["questions"].items():
        file = PICTURES / f"{question}.svg"
        file.write_text(draw(question, answers, measured["machine"]["cores"]))
        print(f"wrote {file}")
    text = table(measured["questions"])
    tables.PAGE.write_text(tables.put(tables.PAGE.read_text(), "scale", text, by="bench-plots"))
    print(f"wrote the table of {tables.PAGE}")


if __name__ == "__main__":
    main()
