# SPDX-License-Identifier: Apache-2.0
"""SVG: rectangles and texts of classes, and a page whose colours follow the reader's mode.

No script, no font of its own: texts are measured by what a letter takes at most, and cut.
"""

from __future__ import annotations

from nvidia_runtime.log import shown

SANS = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif'
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'
# Of a class of texts: the size, and the width of a letter as a part of it.
FONTS = {
    "h1": (19, 0.66),
    "h2": (14, 0.64),
    "name": (13, 0.66),
    "said": (12, 0.58),
    "soft": (12, 0.58),
    "port": (11, 0.61),
    "mono": (11, 0.61),
    "fine": (11, 0.61),
    "cell": (10.5, 0.64),
}
COLUMNS = ("port", "mono", "fine")
BOLD = ("h1", "h2", "name")
SOFT = ("soft", "port", "fine")
# What has a colour: its property, in light mode, and in dark mode.
COLOURS = {
    "page": ("fill", "#ffffff", "#0d1117"),
    "panel": ("fill", "#f6f8fa", "#151b23"),
    "group": ("fill", "#ffffff", "#0d1117"),
    "card": ("fill", "#ffffff", "#151b23"),
    "gpu": ("fill", "#1f883d", "#3fb950"),
    "nic": ("fill", "#0969da", "#4493f8"),
    "nvswitch": ("fill", "#8250df", "#ab7df8"),
    "mig": ("fill", "#dafbe1", "#12361f"),
    "line": ("stroke", "#d1d9e0", "#3d444d"),
    "text": ("fill", "#1f2328", "#f0f6fc"),
    "weak": ("fill", "#59636e", "#9198a1"),
    "X": ("fill", "#ffffff", "#0d1117"),
    "PIX": ("fill", "#aceebb", "#1a5c2e"),
    "PXB": ("fill", "#b6e3ff", "#0c4170"),
    "PHB": ("fill", "#fae17d", "#5c4813"),
    "NODE": ("fill", "#ffd8b5", "#6b3a12"),
    "SYS": ("fill", "#eaeef2", "#262c36"),
}


def page(width: float, height: float, label: str, marks: list[str]) -> str:
    """Return the document of the marks on a page."""
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escaped(label)}">'
    )
    style = "\n".join(["<style>", *_style(), "</style>"])
    licence = "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    background = f'<rect class="page" width="{width:g}" height="{height:g}"/>'
    return "\n".join([head, licence, style, background, *marks, "</svg>"]) + "\n"


def box(place: tuple[float, float, float, float], kind: str, *, round_by: float = 6) -> str:
    """Return a rectangle of x, y, width and height; panels, groups and cards have a line."""
    x, y, width, height = place
    kinds = f"{kind} line" if kind in ("panel", "group", "card", "X") else kind
    area = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_by:g}"'
    return f'<rect class="{kinds}" {area}/>'


def text(x: float, y: float, said: str, kind: str, anchor: str = "") -> str:
    """Return a text; ``anchor`` is middle or end, if it does not start at x."""
    if not said:
        return ""
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}"{where}>{escaped(said)}</text>'


def line(x: float, y: float, parts: tuple[tuple[str, str], ...]) -> str:
    """Return a text of parts, each of a class of its own."""
    spans = [f'<tspan class="{kind}">{escaped(said)} </tspan>' for said, kind in parts]
    return f'<text x="{x:g}" y="{y:g}">{"".join(spans)}</text>'


def group(title: str, marks: list[str]) -> str:
    """Return marks that together have a title, which a pointer over them shows."""
    return "\n".join(["<g>", f"<title>{escaped(title)}</title>", *filter(None, marks), "</g>"])


def measured(said: str, kind: str) -> float:
    """Return the most that a text may be wide."""
    size, letter = FONTS[kind]
    return len(shown(said)) * size * letter


def fitted(said: str, kind: str, width: float) -> str:
    """Return a text, cut to a width."""
    if measured(said, kind) <= width:
        return said
    size, letter = FONTS[kind]
    return f"{shown(said)[: max(0, int(width / (size * letter)) - 1)]}…"


def escaped(said: str) -> str:
    """Return a text as XML has it, without what XML cannot have."""
    said = shown(said).replace("&", "&amp;").replace("<", "&lt;")
    return said.replace(">", "&gt;").replace('"', "&quot;")


def _style() -> list[str]:
    rules = [".line { stroke-width: 1 }"]
    for name, (size, _) in FONTS.items():
        family = MONO if name in COLUMNS else SANS
        weight = "; font-weight: 600" if name in BOLD else ""
        rules.append(f".{name} {{ font-family: {family}; font-size: {size}px{weight} }}")
    dark = [f"  {rule}" for rule in _colours(2)]
    return [*rules, *_colours(1), "@media (prefers-color-scheme: dark) {", *dark, "}"]


def _colours(mode: int) -> list[str]:
    rules = []
    for name, entry in COLOURS.items():
        classes = [name]
        if name in ("text", "weak"):
            classes = [kind for kind in FONTS if (kind in SOFT) == (name == "weak")]
        selector = ", ".join(f".{kind}" for kind in classes)
        rules.append(f"{selector} {{ {entry[0]}: {entry[mode]} }}")
    return rules
