# SPDX-License-Identifier: Apache-2.0
"""A child process that asks a library of the driver: one that crashes or hangs costs its answer.

It keeps nothing open that an engine waits for: if it hangs in the kernel, it outlives us.
"""

from __future__ import annotations

import os
import select
import signal
import time

from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Say = Callable[[bytes], object]

# Seconds that a child gets to end; one that hangs in the kernel does not, and is left behind.
GRACE = 1.0
TICK = 0.001
MOST = 1 << 16
END = b"\0"
NOWHERE = "/dev/null"
DRIVER = "the driver"
PR_SET_PDEATHSIG = 1


def ask(work: Callable[[], bytes], patience: float) -> tuple[bytes, str]:
    """Return what ``work`` returns in a child, and a sentence of how the child ended.

    If it takes more than ``patience`` seconds, there is no answer; one that is whole counts also
    where the child hangs at its end, as in the kernel's part of a driver.
    """
    deadline = time.monotonic() + patience
    data = b""
    with Child(lambda say: say(work() + END)) as child:
        while not data.endswith(END) and len(data) < MOST:
            part = child.read(deadline - time.monotonic())
            if part is None:
                return b"", silent(patience)
            if not part:
                break
            data += part
        return data.removesuffix(END), child.ending()


def silent(seconds: float) -> str:
    """Say that a child did not answer."""
    return f"did not answer within {seconds:g} s"


class Child:
    """A process that does some work and writes to us; it ends with the ``with``, or with us."""

    __slots__ = ("_before", "_pid", "_readable")

    def __init__(self, work: Callable[[Say], object]) -> None:
        """Start it; ``work`` is called with the function that writes to us.

        Raises `NvidiaRuntimeError` where there is no descriptor or process left for it.
        """
        try:
            self._readable, writable = os.pipe()
        except OSError as error:
            raise driver_root.unreadable(DRIVER, error, "asked") from None
        # Where it is ignored, the kernel does not keep how a child ended.
        self._before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError as error:
            os.close(self._readable)
            os.close(writable)
            signal.signal(signal.SIGCHLD, self._before)
            raise driver_root.unreadable(DRIVER, error, "asked") from None
        if not self._pid:
            _become(work, writable, parent)
        os.close(writable)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._readable)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()
        signal.signal(signal.SIGCHLD, self._before)

    def read(self, seconds: float) -> bytes | None:
        """Return what it writes next, nothing at its end, ``None`` if it writes nothing in time."""
        poll = select.poll()
        poll.register(self._readable, select.POLLIN)
        return os.read(self._readable, MOST) if poll.poll(max(seconds, 0) * 1000) else None

    def ending(self) -> str:
        """Wait until it ends by itself, and say how it did."""
        status = self._wait()
        if status is None:
            return "hangs at its end"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return f"ended with exit code {code}"
        names = {number.value: number.name for number in signal.Signals}
        return f"crashed ({names.get(-code, f'signal {-code}')})"

    def _wait(self) -> int | None:
        """Return how it ended, ``None`` if it does not."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                self._pid = 0
                return status
            time.sleep(TICK)
        return None


def _become(work: Callable[[Say], object], writable: int, parent: int) -> NoReturn:
    """Do the work; whatever happens never return, there must be no second one of us."""
    try:
        import ctypes  # only in the child

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            _detach(writable)
            work(lambda data: os.write(writable, data))
            os._exit(0)
    finally:
        os._exit(1)


def _detach(writable: int) -> None:
    import resource  # only in the child

    # A crash leaves no core dump: 1 is the limit that also holds for programs that take them.
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))
    nowhere = os.open(NOWHERE, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    # Not up to the limit, which may be a billion.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != writable:
            try:
                os.close(int(name))
            except OSError:  # the listing's own
                continue
