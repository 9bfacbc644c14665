# SPDX-License-Identifier: Apache-2.0
"""What is made of the figures of two revisions, and that both are measured."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from benchmarks import compare, results
from benchmarks.compare import Median
from benchmarks.cost import Cost


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], Median(1.0, 1.0, 1.0)),
        (range(1, 6), Median(1, 3, 5)),  # of five no bounds are that sure
        (range(1, 7), Median(1, 3.5, 6)),
        (range(1, 101), Median(40, 50.5, 61)),
        (range(1, 201), Median(86, 100.5, 115)),
    ],
)
def test_bounds_of_a_median(values: range, expected: Median) -> None:
    """Tables of the sign test have the ranks 40 and 61 of 100, and 86 and 115 of 200."""
    assert compare.median([float(value) for value in reversed(values)]) == expected


def pairs(*ratios: float, cpu: float = 1.0) -> list[tuple[Cost, Cost]]:
    return [(Cost(10, 5, 0), Cost(10 * ratio, 5 * cpu, 0)) for ratio in ratios]


@pytest.mark.parametrize(
    ("costs", "judge", "slower"),
    [
        pytest.param(pairs(*[1.0, 1.01] * 5), "wall", [], id="quiet"),
        pytest.param(pairs(*[1.03, 1.035] * 5), "wall", ["a row"], id="slower"),
        pytest.param(pairs(*[0.9, 1.2] * 5), "CPU", [], id="noisy"),
        pytest.param(pairs(*[0.9, 1.2] * 5, cpu=1.1), "CPU", ["a row"], id="noisy and slower"),
    ],
)
def test_which_rows_are_slower(
    costs: list[tuple[Cost, Cost]], judge: str, slower: list[str]
) -> None:
    medians = compare.ratios(costs)

    assert set(medians) == {"wall", "CPU"}  # no instructions were counted
    assert compare.decisive(medians) == judge
    assert compare.show({"a row": costs}) == slower


def test_both_revisions_are_measured() -> None:
    if not (results.TREE / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout: the revision to compare to")
    words = [sys.executable, compare.HERE, "HEAD", "--pairs", "1", "--place", "host"]
    words += ["--rows", "create, 8 GPUs$"]

    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)

    assert "of HEAD, 1 pairs" in done.stdout, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("| create, ")]) == 1


def test_unknown_revision() -> None:
    if not (results.TREE / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout: the revision to compare to")
    done = subprocess.run(
        [sys.executable, compare.HERE, "no-such"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "no-such" in done.stderr
