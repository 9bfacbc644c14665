# SPDX-License-Identifier: Apache-2.0
"""What is made of the figures of growth, but for what matplotlib draws."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks import plots, scale, tables
from benchmarks.results import Form
from benchmarks.scale import Point, Series

SVG = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<svg width="9pt" height="9pt" version="1.1">
 <path style="fill: #ffffff"/>
 <text style="fill: #24292f">a</text>
 <text style="fill: #24292f">b</text>
</svg>
"""


def point(count: int, p50: float) -> Point:
    return Point(count=count, creates=100, p50=p50, p99=2 * p50, memory=9.26)


@pytest.mark.parametrize(
    ("p50", "growth"), [((9.0, 9.0), 0), ((10.0, 40.0), 1), ((10.0, 160.0), 2)]
)
def test_growth(p50: tuple[float, float], growth: float) -> None:
    series = Series(name="", points=[point(1, 1.0), point(1024, p50[0]), point(4096, p50[1])])

    assert series.growth == pytest.approx(growth)


def test_table() -> None:
    series = Series(name="all of them", points=[point(1, 9.04), point(1024, 20), point(4096, 80)])
    answers = [{**asdict(series), "growth": series.growth}]

    assert plots.table({"devices": answers}).splitlines()[2:] == [
        "| devices: all of them | 1 to 4,096 | 9.0 to 80.0 | 18.1 to 160.0 | 9.3 to 9.3 | n^1.0 |"
    ]


def test_picture_has_colours_for_dark_pages() -> None:
    assert plots.dress(SVG, "A title").splitlines() == [
        '<svg role="img" aria-label="A title" width="9pt" height="9pt" version="1.1">',
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<style>",
        ".l0 { fill: #ffffff }",
        ".l1 { fill: #24292f }",
        "@media (prefers-color-scheme: dark) {",
        ".l0 { fill: #0d1117 }",
        ".l1 { fill: #e6edf3 }",
        "}",
        "</style>",
        "",
        ' <path class="l0"/>',
        ' <text class="l1">a</text>',
        ' <text class="l1">b</text>',
        "</svg>",
    ]


def test_every_question_has_its_picture() -> None:
    assert [*plots.TITLES] == [*scale.QUESTIONS]
    page = tables.PAGE.read_text()
    assert [name for name in plots.TITLES if f"/{name}.svg)" not in page] == []


def test_creates_are_measured(tmp_path: Path) -> None:
    """Of two at once, in a process that is small."""
    launcher = tmp_path / "launcher"
    launcher.write_text('#!/bin/sh\ngrep -q NVIDIA_VISIBLE_DEVICES=0,1 "$3/config.json"\n')
    launcher.chmod(0o755)
    form = Form(is_short=False, rounds=3, launcher=launcher, python=sys.executable, inside="")
    site = scale.Site(tmp_path, launcher)

    measured = site.point(2, dict(os.environ), devices="0,1", at_once=2, form=form)

    assert (measured.count, measured.creates) == (2, 6)
    assert 0 < measured.p50 <= measured.p99
    assert measured.memory > 0
