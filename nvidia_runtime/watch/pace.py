# SPDX-License-Identifier: Apache-2.0
"""When to refresh: soon after a burst of changes; again after a failure, less and less often.

Times are seconds of a clock that only goes forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_RETRY = 5.0
LAST_RETRY = 300.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a refresh is waiting for: changes that were seen, or a failure before it."""

    quiet: float  # how long nothing may change before a refresh
    longest: float  # how long continuous changes can delay it
    first_change: float = NEVER
    last_change: float = NEVER
    failures: int = 0
    retry: float = NEVER

    def due(self) -> float:
        """Return the time of the next refresh, `NEVER` if there is nothing to do."""
        settled = min(self.last_change + self.quiet, self.first_change + self.longest)
        return min(settled, self.retry)


def changed(pace: Pace, now: float) -> Pace:
    """Note a change."""
    return replace(pace, first_change=min(pace.first_change, now), last_change=now)


def begun(pace: Pace) -> Pace:
    """Note that a refresh begins: it sees what has changed until now."""
    return replace(pace, first_change=NEVER, last_change=NEVER, retry=NEVER)


def succeeded(pace: Pace) -> Pace:
    """Note that a refresh succeeded."""
    return replace(pace, failures=0, retry=NEVER)


def failed(pace: Pace, now: float) -> Pace:
    """Note that a refresh failed: the next one waits twice as long, up to some minutes."""
    wait = min(FIRST_RETRY * 2 ** min(pace.failures, 10), LAST_RETRY)
    return replace(pace, failures=pace.failures + 1, retry=now + wait)
