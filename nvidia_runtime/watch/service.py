# SPDX-License-Identifier: Apache-2.0
"""The loop of the service: it listens, looks, waits for quiet, and refreshes the CDI spec.

Each refresh is a process of its own.  SIGTERM ends at once, SIGHUP refreshes now.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nvidia_runtime.watch import child, notify, pace, uevents
from nvidia_runtime.watch.child import Outcome, RunningRefresh
from nvidia_runtime.watch.signs import Lookout, Signs, difference

# Exit codes of a refresh: done; there is no driver, and an event will say when there is one.
DONE = (0, 69)
STOPS = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*STOPS, signal.SIGHUP, signal.SIGCHLD)
READING_SIGNALS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds: between looks, of quiet, of a burst at most, of a refresh, until systemd is told."""

    interval: float = 2.0
    quiet: float = 1.0
    longest: float = 10.0
    patience: float = 180.0
    ready: float = 20.0


class Service:
    """The state of the loop between its rounds."""

    def __init__(
        self,
        command: list[str],
        lookout: Lookout,
        timing: Timing,
        say: Callable[[str], None],
        debug: Callable[[str], None],
    ) -> None:
        """Take the command that refreshes, and the functions that log."""
        self.command = command
        self.lookout = lookout
        self.timing = timing
        self.say = say
        self.debug = debug
        self.pace = pace.Pace(quiet=timing.quiet, longest=timing.longest)
        self.child: RunningRefresh | None = None
        self.signs: Signs = {}
        self.is_asked = True  # the first refresh is at once
        self.is_ready = False

    def run(self, listener: uevents.Listener | None) -> None:
        """Run until a signal says stop."""
        with _signals() as woken, selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            if listener:
                selector.register(listener, selectors.EVENT_READ)
            self.signs = self.lookout.look()
            next_look = time.monotonic() + self.timing.interval
            ready_at = time.monotonic() + self.timing.ready
            try:
                while not self._is_told_to_stop(woken):
                    now = time.monotonic()
                    if listener:
                        self._hear(listener, now)
                    if now >= next_look:
                        self._look(now)
                        next_look = now + self.timing.interval
                    self._follow(now)
                    self._begin(now)
                    if now >= ready_at:
                        self._ready()
                    selector.select(max(0.0, min(next_look, self._due()) - time.monotonic()))
            finally:
                notify.tell("STOPPING=1")
                if self.child:
                    child.end(self.child)

    def _due(self) -> float:
        return self.child.deadline if self.child else self.pace.due()

    def _is_told_to_stop(self, woken: socket.socket) -> bool:
        try:
            numbers = woken.recv(READING_SIGNALS)
        except BlockingIOError:
            return False
        if signal.SIGHUP in numbers:
            self.say("SIGHUP: refreshing now")
            self.is_asked = True
        for number in STOPS:
            if number in numbers:
                self.say(f"{number.name}: ending")
                return True
        return False

    def _hear(self, listener: uevents.Listener, now: float) -> None:
        events, refused = listener.read()
        for text in refused:
            self.debug(f"ignored {text}")
        for event in events:
            if uevents.concerns_gpus(event):
                self.say(f"uevent: {uevents.describe(event)}")
                self.pace = pace.changed(self.pace, now)
            else:
                self.debug(f"ignored uevent: {uevents.describe(event)}")

    def _look(self, now: float) -> None:
        before, self.signs = self.signs, self.lookout.look()
        if changes := difference(before, self.signs):
            self.say(changes)
            self.pace = pace.changed(self.pace, now)

    def _begin(self, now: float) -> None:
        if self.child or not (self.is_asked or self.pace.due() <= now):
            return
        self.is_asked = False
        self.pace = pace.begun(self.pace)
        try:
            self.child = child.start(self.command, now + self.timing.patience)
        except OSError as error:  # no memory, no processes left: later, perhaps
            self.say(f"cannot start a refresh: {error}")
            self.pace = pace.failed(self.pace, now)

    def _follow(self, now: float) -> None:
        """Look whether a refresh has ended, and how."""
        if not self.child:
            return
        result = child.outcome(self.child)
        if result is None and now < self.child.deadline:
            return
        if result is None:
            child.end(self.child)
            self.say(f"the refresh took more than {self.timing.patience:g} s and was ended")
            result = Outcome(code=-signal.SIGKILL)
        if paths := result.texts("watched"):
            self.signs = self.lookout.widen(paths, self.signs, self.child.begun)
        self.child = None
        self._conclude(result, now)
        self._ready()

    def _conclude(self, result: Outcome, now: float) -> None:
        summary = result.text("summary")
        if summary:
            self.say(summary)
        if result.code in DONE:
            self.pace = pace.succeeded(self.pace)
            notify.tell(f"STATUS={summary or 'up to date'}")
            return
        self.pace = pace.failed(self.pace, now)
        again = f"trying again in {self.pace.retry - now:g} s, or when something changes"
        self.say(f"the refresh ended with {result.code}; {again}")
        notify.tell(f"STATUS={summary or 'the last refresh failed'}; {again}")

    def _ready(self) -> None:
        if not self.is_ready:
            self.is_ready = True
            notify.tell("READY=1")


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Return a socket from which the numbers of signals are read."""
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.settimeout(0)
    before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        woken.close()
        waker.close()
