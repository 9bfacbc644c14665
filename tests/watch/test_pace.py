# SPDX-License-Identifier: Apache-2.0
"""When to refresh."""

from __future__ import annotations

import pytest

from nvidia_runtime.watch import pace
from nvidia_runtime.watch.pace import NEVER, Pace

IDLE = Pace(quiet=1.0, longest=10.0)


def after_changes(*times: float) -> Pace:
    state = IDLE
    for time in times:
        state = pace.changed(state, time)
    return state


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ((), NEVER),
        ((5.0,), 6.0),
        ((5.0, 5.5, 6.2), 7.2),
        (tuple(5.0 + step * 0.5 for step in range(100)), 15.0),
    ],
    ids=["none", "one", "a burst", "a burst without end"],
)
def test_refresh_waits_for_quiet(changes: tuple[float, ...], due: float) -> None:
    assert after_changes(*changes).due() == pytest.approx(due)


def test_change_during_a_refresh_is_not_lost() -> None:
    during = pace.changed(pace.begun(after_changes(5.0)), 7.0)

    assert pace.succeeded(during).due() == 8.0


def test_refresh_in_vain_is_tried_again_ever_more_seldom() -> None:
    state, waits = IDLE, []
    for _ in range(9):
        state = pace.failed(pace.begun(state), 100.0)
        waits.append(state.due() - 100.0)

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_success_forgets_failures() -> None:
    state = pace.succeeded(pace.begun(pace.failed(pace.failed(IDLE, 0.0), 0.0)))

    assert state.due() == NEVER
    assert pace.failed(state, 0.0).due() == 5.0


def test_change_does_not_wait_for_the_retry() -> None:
    assert pace.changed(pace.failed(IDLE, 100.0), 101.0).due() == 102.0
