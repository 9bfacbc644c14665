# SPDX-License-Identifier: Apache-2.0
"""The signals that end an installation: they are noticed between its steps, not within one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM)


class StoppedError(Exception):
    """A signal came before all was done."""


class Stop:
    """Whether one came."""

    def __init__(self) -> None:
        self.signal = ""
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def came(self, number: int, _frame: FrameType | None) -> None:
        """Remember a signal."""
        self.signal = signal.Signals(number).name
        with contextlib.suppress(BlockingIOError):
            os.write(self.write, b"!")

    def check(self) -> None:
        """Raise `StoppedError` if one came."""
        if self.signal:
            raise StoppedError

    def wait(self, seconds: float) -> bool:
        """Wait for one; whether it came."""
        if not self.signal:
            select.select([self.read], [], [], seconds)
        return bool(self.signal)

    def pause(self, seconds: float) -> None:
        """Wait for some time; raise `StoppedError` as soon as one comes."""
        self.wait(seconds)
        self.check()


@contextlib.contextmanager
def noticed() -> Iterator[Stop]:
    """Notice the signals from here on."""
    stop = Stop()
    old = {number: signal.signal(number, stop.came) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(stop.read)
        os.close(stop.write)
