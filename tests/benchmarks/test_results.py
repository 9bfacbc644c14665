# SPDX-License-Identifier: Apache-2.0
"""What is made of figures: tables, a file, and who is over budget."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from benchmarks import bench, cold, containers, cost, machines, results, tables
from benchmarks.budgets import BUDGETS
from benchmarks.cost import INTERPRETER
from benchmarks.results import Form, Row

CREATE = "create, 8 GPUs"
ORPHAN = """
import sys
sys.path.insert(0, {tests!r})
from benchmarks import cost
cost.adopt()
cost.run(cost.Case(name="", words=("/bin/sh", "-c", "(exec {python} -c pass) &")), {{}})
print(cost.reap())
"""


def form(tmp_path: Path, *, is_short: bool = False) -> Form:
    return Form(
        is_short=is_short,
        rounds=3,
        launcher=tmp_path / "launcher",
        python=sys.executable,
        inside="",
    )


def row(name: str = CREATE, figure: float | None = 1.0, **fields: Any) -> Row:
    return Row(name=name, judged_by="median time", figure=figure, **fields)


def test_every_budget_is_that_of_a_row(tmp_path: Path) -> None:
    """Of those with a shell in their names some are missing where that shell is."""
    site = bench.Site(tmp_path, tmp_path / "launcher")
    cases = ("warm", "cold", "new image", "second start", "cdi generate", INTERPRETER)
    at_once = [f"nvidia-ctk {line}" for line in machines.AT_ONCE]
    full = {name: [1.0] for name in (*cases, *at_once)}
    names = {case.name for case, _ in bench.cases(site, "python3")} | {bench.COMPILE, bench.PEAK}
    names |= {one.name for one in machines.table(full, full, full, form(tmp_path))}
    names |= {machines.ATTACH, cold.AUTO, cold.CDI}
    titles = (containers.TITLES["auto"], containers.NATIVE)
    names |= {f"{title}, {when}" for title in titles for when in containers.STARTS}
    names |= {one.name for one in containers.added(defaultdict(lambda: [1.0]), form(tmp_path))}

    lacking = [name for name in BUDGETS if name not in names]

    assert [name for name in lacking if not name.endswith((", dash", ", busybox"))] == []


@pytest.mark.parametrize(
    ("figure", "slack", "is_over"),
    [(0.99, 1.0, False), (1.01, 1.0, True), (1.24, 1.25, False), (1.26, 1.25, True)],
)
def test_over_budget(figure: float, slack: float, *, is_over: bool) -> None:
    assert results.is_over(row(figure=BUDGETS[CREATE] * figure), slack) == is_over


def test_what_has_no_budget_or_no_figure_is_not_over() -> None:
    assert not results.is_over(row(name="another"), 1.0)
    assert not results.is_over(row(figure=None), 1.0)


def test_table() -> None:
    rows = [
        row(figure=1.403, ms=13.42),
        row("memory", 93.16, unit="MB"),
        row("runc alone", None, ms=132.4),
    ]

    text = results.table([results.document(one) for one in rows])

    assert text.splitlines() == [
        "| | ms | measured | budget |",
        "|---|---|---|---|",
        f"| create, 8 GPUs | 13.42 | 1.40 starts | {BUDGETS[CREATE]:.2f} |",
        "| memory |  | 93.2 MB |  |",
        "| runc alone | 132 |  |  |",
    ]


def test_sections_of_one_run_share_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "TREE", tmp_path)
    for section in results.SECTIONS:
        results.finish(section, [row()], form(tmp_path))

    measured = json.loads((tmp_path / "build/bench.json").read_text())
    (written,) = measured["sections"]["programs"]["rows"]

    assert [*measured["sections"]] == [*results.SECTIONS]
    assert written == {
        "name": CREATE,
        "judged_by": "median time",
        "figure": 1.0,
        "unit": "starts",
        "ms": None,
        "budget": BUDGETS[CREATE],
    }


def test_sections_of_other_programs_leave_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "TREE", tmp_path)
    results.finish("programs", [row()], form(tmp_path))
    results.finish("machines", [row()], form(tmp_path / "other"))

    assert [*json.loads((tmp_path / "build/bench.json").read_text())["sections"]] == ["machines"]


def test_who_is_over_budget_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "TREE", tmp_path)
    beyond = row(figure=BUDGETS[CREATE] * 1.3)
    with pytest.raises(SystemExit) as end:
        results.finish("programs", [row("another"), beyond], form(tmp_path, is_short=True))

    assert end.value.code == f"over budget: {CREATE}"
    assert (tmp_path / "build/bench-short.json").exists()


@pytest.mark.parametrize(
    ("kind", "over", "starts"),
    [("wall", "", 12 / 4), ("cpu", "", 10 / 3), ("wall", "less", 5 / 4), ("cpu", "less", 6 / 3)],
)
def test_starts(kind: str, over: str, starts: float) -> None:
    times = {"more": [10.0, 12.0, 14.0], "less": [7.0, 4.0, 10.0], INTERPRETER: [3.0, 4.0, 8.0]}

    assert cost.starts(times, "more", kind, over) == pytest.approx(starts)


def test_difference_is_that_of_rounds() -> None:
    """In the second of which the machine was slow."""
    times = {"more": [11.0, 33.0, 10.5], "less": [10.0, 30.0, 10.0], INTERPRETER: [5.0, 15.0, 5.0]}

    assert cost.starts_more(times, "more", "less") == pytest.approx(0.2)


def test_ratio_is_that_of_rounds() -> None:
    """In the second of which the machine was slow."""
    times = {"more": [11.0, 33.0, 10.5], "less": [10.0, 30.0, 10.0]}

    assert cost.ratio(times, "more", "less") == pytest.approx(1.1)


def test_what_an_orphan_takes_is_counted() -> None:
    """As runc leaves the container's first process, which has done much of its work."""
    script = ORPHAN.format(tests=str(Path(__file__).parents[1]), python=sys.executable)

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert float(done.stdout) > 0


def test_page_has_the_tables() -> None:
    measured: dict[str, Any] = {
        "revision": "0123456789ab",
        "machine": {
            "cores": 2,
            "processor": "a processor",
            "memory_gb": 8.2,
            "kernel": "6.1.0-1-amd64",
            "system": "Debian",
        },
        "interpreter": {"version": "3.11.2"},
        "versions": {"runc": "1.1.5"},
        "sections": {
            name: {"rounds": 3, "rows": [results.document(row(f"a row of {name}"))]}
            for name in results.SECTIONS
        },
    }
    text = tables.PAGE.read_text()

    once = tables.page(text, measured)

    assert "2 cores (a processor), 8 GB, Linux 6.1.0, Debian, CPython 3.11.2, runc 1.1.5" in once
    for name in results.SECTIONS:
        table = f"Medians of 3 rounds.\n\n{results.table(measured['sections'][name]['rows'])}"
        assert f"<!-- {name}: made by make bench-tables -->\n{table}<!-- end -->\n" in once
    assert tables.page(once, measured) == once


def test_page_needs_all_of_one_run() -> None:
    with pytest.raises(SystemExit) as end:
        tables.page(tables.PAGE.read_text(), {"sections": {"machines": {}}})

    assert (
        end.value.code
        == "not measured in this run: programs, containers, cold, engines, pods; run 'make bench'"
    )


def test_page_gets_one_table_that_says_of_what_it_is() -> None:
    section = {"rounds": 3, "rows": [results.document(row("a row of pods"))]}
    text = tables.PAGE.read_text()

    page = tables.page(text, {"revision": "0123456789ab", "sections": {"pods": section}}, ["pods"])

    assert (
        "<!-- pods: made by make bench-tables -->\nMedians of 3 rounds; revision 0123456789ab.\n"
        in page
    )
    assert page.count("a row of pods") == 1
    assert page.split("<!-- pods")[0] == text.split("<!-- pods")[0]
