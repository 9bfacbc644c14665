# SPDX-License-Identifier: Apache-2.0
"""A limit on the time of preparation, whatever an image or a volume holds.

Single things have limits of their own; this one is for what nobody thought of.
"""

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError

_signal = start.private("_signal", "signal", "signal", "setitimer", "SIGALRM", "ITIMER_REAL")
# It takes a few milliseconds, on a slow disk a second.
SECONDS = 60.0
# Again and again, for the first may come where an error costs only speed.
AGAIN = 1.0


class TimeLimit:
    """While it is entered: after `SECONDS` whatever is being done ends with `NvidiaRuntimeError`.

    ``where`` is for the message.
    """

    __slots__ = ("_before", "_is_set", "_where")

    def __init__(self, where: str) -> None:
        self._where = where
        self._before: object = None
        self._is_set = False

    def __enter__(self) -> None:
        try:
            self._before = _signal.signal(_signal.SIGALRM, self._end)
            _signal.setitimer(_signal.ITIMER_REAL, SECONDS, AGAIN)
        except Exception:  # noqa: BLE001 (what a future CPython raises: there is no limit then)
            return
        self._is_set = True

    def __exit__(self, *_: object) -> None:
        if not self._is_set:
            return
        try:
            self._stop()
        except NvidiaRuntimeError:  # the alarm came at this very moment
            self._stop()

    def _stop(self) -> None:
        _signal.setitimer(_signal.ITIMER_REAL, 0)  # which an exec would not end
        _signal.signal(_signal.SIGALRM, self._before or _signal.SIG_DFL)

    def _end(self, *_: object) -> None:
        what = f"could not be prepared within {SECONDS:.0f} seconds"
        hint = "look at what its image and volumes hold, and whether their disks answer"
        raise NvidiaRuntimeError(what, where=self._where, hint=hint)
