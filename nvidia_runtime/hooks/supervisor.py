# SPDX-License-Identifier: Apache-2.0
"""A program whose time is limited: it is our child, and ends with us.

An engine waits for a hook to end and for its output to be closed.  A program that hangs in a
driver cannot even be killed, so it must not hold what the engine waits for: it writes into memory,
which is repeated at its end.  Loaded only where the settings limit the time.
"""

import ctypes
import posix
import time

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError

# `signal` would load enum.
_signal = start.private("_signal", "signal", "pthread_sigmask", "sigtimedwait", "SIGUSR2")
# What an engine or a person may send to a hook; SIGKILL cannot be handed on.
HANDED_ON = (
    *(_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM),
    *(_signal.SIGUSR1, _signal.SIGUSR2),
)
PR_SET_PDEATHSIG = 1
# Seconds that a killed program gets to end.
GRACE = 1.0
# Of its output: the end says why it failed.
MOST_OUTPUT = 1 << 16


def fork(program: str, seconds: int, setting: str) -> None:
    """Return in a child, which has to become the program; end as it does in the parent.

    Raises `NvidiaRuntimeError` in the parent when the time is over, and has killed it by then.
    """
    awaited = {_signal.SIGCHLD, *HANDED_ON}
    before = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, no child could be awaited
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, awaited)
    outputs = (_open_memory(), _open_memory())
    prctl = ctypes.CDLL(None).prctl
    parent = posix.getpid()
    pid = posix.fork()
    if pid:
        code = _wait(pid, time.monotonic() + seconds)
        _repeat(outputs)
        if code is not None:
            posix._exit(code)  # noqa: SLF001 (nothing is left to flush)
        raise _time_is_over(pid, program, seconds, setting)
    posix.setpgid(0, 0)  # what the program starts is killed with it
    prctl(PR_SET_PDEATHSIG, _signal.SIGKILL)
    if posix.getppid() != parent:
        posix._exit(1)  # noqa: SLF001 (killed just now)
    for descriptor, output in enumerate(outputs, 1):
        posix.dup2(output, descriptor)
    _signal.signal(_signal.SIGCHLD, before)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _open_memory() -> int:
    """Open a file in memory for appending, also by a program that opens /dev/stderr anew."""
    memory = posix.memfd_create("output")
    opened = posix.open(f"/proc/self/fd/{memory}", posix.O_RDWR | posix.O_APPEND)
    posix.close(memory)
    return opened


def _repeat(outputs: tuple[int, ...]) -> None:
    """Write what the program wrote; that stderr is closed is not an error."""
    for descriptor, output in enumerate(outputs, 1):
        size = posix.fstat(output).st_size
        data = posix.pread(output, MOST_OUTPUT, max(0, size - MOST_OUTPUT))
        try:
            while data:
                data = data[posix.write(descriptor, data) :]
        except OSError:
            continue


def _wait(pid: int, end: float) -> int | None:
    """Wait until ``end``, hand signals on; return the exit status, as a shell does, if it ends."""
    while (left := end - time.monotonic()) > 0:
        came = _signal.sigtimedwait({_signal.SIGCHLD, *HANDED_ON}, left)
        if came and came.si_signo != _signal.SIGCHLD:
            posix.kill(pid, came.si_signo)
            continue
        ended, status = posix.waitpid(pid, posix.WNOHANG)
        if ended:
            code = posix.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
    return None


def _time_is_over(pid: int, program: str, seconds: int, setting: str) -> NvidiaRuntimeError:
    """Kill the program with what it started; return the error."""
    try:
        posix.killpg(pid, _signal.SIGKILL)
    except ProcessLookupError:
        posix.kill(pid, _signal.SIGKILL)  # so young that it has no group yet
    what = f"did not end within {seconds} s and was killed"
    if _wait(pid, time.monotonic() + GRACE) is None:
        what += ", but it hangs in the kernel"
    hint = f"does nvidia-smi answer, and what does dmesg say of the driver? or raise {setting}"
    return NvidiaRuntimeError(what, where=program, hint=hint)
