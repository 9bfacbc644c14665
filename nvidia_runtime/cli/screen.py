# SPDX-License-Identifier: Apache-2.0
"""What a terminal gets and a pipe does not: colours, and a line for what takes long."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Event
    from types import TracebackType
    from typing import Any, TextIO

RED, GREEN, YELLOW, CYAN = "31", "32", "33", "36"
SOON = 0.5  # seconds until a line is worth it
CLEAR = "\r\033[K"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream leads to a terminal that obeys escape sequences."""
    return bool(stream and stream.isatty()) and os.environ.get("TERM", "") not in ("", "dumb")


def has_colours(stream: TextIO | None) -> bool:
    """Whether colours are wanted: no-color.org."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Return a text in a colour if the stream, by default stdout, takes them."""
    if not colour or not has_colours(stream or sys.stdout):
        return text
    return f"\033[{colour}m{text}\033[0m"


def print_json(value: Any) -> None:
    """Print a document for programs."""
    import json  # most commands print text

    print(json.dumps(value, indent=2))


class Progress:
    """A line on stderr that says what is being done, and for how long; it goes when it is done.

    ``text`` may change meanwhile.  Without a terminal, or if it is ``quiet``, nothing is printed.
    """

    def __init__(self, text: str, *, quiet: bool = False) -> None:
        self.text = text
        self._is_shown = is_terminal(sys.stderr) and not quiet
        self._done: Event | None = None
        self._is_drawn = False

    def __enter__(self) -> Progress:
        """Begin; the line appears when it takes long."""
        if self._is_shown:
            # Only for a terminal, and before the thread runs: a fork would inherit a locked import.
            import shutil
            import threading
            import time

            self._now = time.monotonic
            self._size = shutil.get_terminal_size
            self._done = threading.Event()
            self._drawer = threading.Thread(target=self._draw, args=(self._done,), daemon=True)
            self._drawer.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Take the line away."""
        if self._done:
            self._done.set()
            self._drawer.join()

    def clear(self) -> None:
        """Take the line away for now: something else is about to be printed."""
        if self._is_drawn:
            self._is_drawn = False
            sys.stderr.write(CLEAR)
            sys.stderr.flush()

    def _draw(self, done: Event) -> None:
        begin = self._now()
        while not done.wait(SOON):
            width = self._size().columns - 1
            line = f"{self.text} … {self._now() - begin:.0f} s"
            sys.stderr.write(f"{CLEAR}{line[:width]}")
            sys.stderr.flush()
            self._is_drawn = True
        self.clear()
