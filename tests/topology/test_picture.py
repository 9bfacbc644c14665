# SPDX-License-Identifier: Apache-2.0
"""The picture: those of the tree are what the program draws, and nothing overlaps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import shim
import simulated

from nvidia_runtime.simulate import catalogue
from nvidia_runtime.simulate.tree import Folder, Tree
from nvidia_runtime.topology import picture, relation, svg

from .machines import NETWORK, device, of_driver, of_files, of_simulated

PICTURES = shim.TREE / "packaging/pictures"
NAMES = [machine.name for machine in catalogue.machines()]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", ["h100x8", "a100x8mig"])
def test_pictures_of_the_tree_are_these(name: str) -> None:
    """packaging/README.md says how they are drawn anew."""
    assert picture.of(of_simulated(name)) == (PICTURES / f"topology-{name}.svg").read_text()


def parsed(document: str) -> ElementTree.Element:
    return ElementTree.fromstring(document)


def box(rectangle: ElementTree.Element) -> tuple[float, float, float, float]:
    x, y, width, height = (
        float(rectangle.get(name, "0")) for name in ("x", "y", "width", "height")
    )
    return x, y, x + width, y + height


def places(root: ElementTree.Element) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Return each text of one class, with the place that it takes at most."""
    for text in root.iter(f"{SVG}text"):
        kind, said = text.get("class", ""), text.text or ""
        if kind:
            width = svg.measured(said, kind)
            x, y = float(text.get("x", "0")), float(text.get("y", "0"))
            x -= {"end": width, "middle": width / 2}.get(text.get("text-anchor", ""), 0)
            yield said, (x, y - svg.FONTS[kind][0] * 0.75, x + width, y + 2)


def overlapping(root: ElementTree.Element) -> list[tuple[str, str]]:
    """Return the pairs of texts that touch each other."""
    texts = list(places(root))
    assert texts
    return [
        (said, other)
        for number, (said, (left, top, right, bottom)) in enumerate(texts)
        for other, (x, y, end, low) in texts[:number]
        if left < end and x < right and top < low and y < bottom
    ]


@pytest.mark.parametrize("name", NAMES)
def test_texts_do_not_overlap(name: str) -> None:
    assert overlapping(parsed(picture.of(of_simulated(name)))) == []


def test_overlap_is_seen() -> None:
    page = svg.page(9, 9, "", [svg.text(0, 9, "one", "said"), svg.text(9, 9, "two", "said")])

    assert overlapping(parsed(page)) == [("two", "one")]


@pytest.mark.parametrize("name", NAMES)
def test_all_is_on_the_page_and_frames_do_not_cross(name: str) -> None:
    root = parsed(picture.of(of_simulated(name)))
    frames = [box(one) for one in root.iter(f"{SVG}rect") if "line" in one.get("class", "")]
    right, bottom = float(root.get("width", "0")), float(root.get("height", "0"))

    for x, y, end, low in [*frames, *(place for _, place in places(root))]:
        assert 0 <= x <= end <= right
        assert 0 <= y <= low <= bottom
    for number, (x, y, end, low) in enumerate(frames):
        for left, top, last, under in frames[:number]:
            is_inside = left <= x and top <= y and end <= last and low <= under
            is_beside = end <= left or last <= x or low <= top or under <= y
            assert is_inside or is_beside


@pytest.mark.parametrize("name", NAMES)
def test_it_is_plain(name: str) -> None:
    document = picture.of(of_simulated(name))
    root = parsed(document)

    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "style", "rect", "g", "title", "text", "tspan")
    }
    assert re.findall(r"https?:[^\"]*", document) == ["http://www.w3.org/2000/svg"]
    assert root.get("role") == "img"


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return sum(part * one for part, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("mode", [1, 2], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *(("text", name) for name in ("page", "panel", "group", "card", "mig", *relation.MEANINGS)),
        *(("weak", name) for name in ("page", "panel", "group", "card")),
    ],
)
def test_contrast(text: str, ground: str, mode: int) -> None:
    one, other = (luminance(str(svg.COLOURS[name][mode])) for name in (text, ground))

    assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= 4.5


def test_both_modes_colour_the_same(tmp_path: Path) -> None:
    document = picture.of(of_files(device("pci0000:00/0000:01:00.0"), tmp_path))
    style = document.partition("<style>")[2].partition("</style>")[0]
    light, _, dark = style.partition("@media (prefers-color-scheme: dark) {")
    rule = re.compile(r"([.\w, ]+) \{ (?:fill|stroke): #")

    assert [name.strip() for name in rule.findall(light)] == [
        name.strip() for name in rule.findall(dark)
    ]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = '"><script>x'
    files = device("pci0000:00/0000:01:00.0", NETWORK)
    files |= {f"/sys/devices/pci0000:00/0000:01:00.0/net/{name}": Folder()}
    files |= device("pci0000:00/0000:02:00.0") | of_driver("0000:02:00.0", Model="]]>&\x1b\x00")

    root = parsed(picture.of(of_files(files, tmp_path)))

    said = [text.text for text in root.iter(f"{SVG}text")]
    assert overlapping(root) == []
    assert name in said
    assert "]]>&\\x1b\\x00" in said
    assert list(root.iter(f"{SVG}script")) == []


def test_many_gpus_have_tables_below_each_other(tmp_path: Path) -> None:
    simulated.need_root()
    files: Tree = {}
    for number in range(32):
        address = f"0000:{number + 1:02x}:00.0"
        files |= device(f"pci0000:00/{address}") | of_driver(address)
    files |= device("pci0000:00/0000:90:00.0", NETWORK)

    root = parsed(picture.of(of_files(files, tmp_path)))

    right = float(root.get("width", "0"))
    assert overlapping(root) == []
    assert max(box(one)[2] for one in root.iter(f"{SVG}rect")) <= right
    assert len([one for one in root.iter(f"{SVG}rect") if one.get("class") == "PHB"]) > 32 * 31
