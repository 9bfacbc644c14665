# SPDX-License-Identifier: Apache-2.0
"""An engine reads its files again: by a signal to who listens on its socket, or by systemd."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from nvidia_runtime.engines import processes, program
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.installer import telling

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.installer.options import Engine

    Say = Callable[[str], None]
    Wait = Callable[[float], None]

SIGNAL, SYSTEMD, NONE = "signal", "systemd", "none"
# The toolkit's: six times, five seconds apart.
TRIES, PAUSE = 6, 5.0
SECONDS = 120


def way_of(engine: Engine) -> str:
    """Return how the engine is made to read."""
    return engine.restart or telling.kind_of(engine).rereads_by


def has_begun_since(engine: Engine, moment: float) -> bool:
    """Whether the engine was started after a moment, and so has read what it was then."""
    process = processes.read(processes.peer(telling.socket(engine)))
    return bool(process and process.began > moment)


def forgets_default(engine: Engine) -> None:
    """Wait a moment until the engine has another default than ours, where it can be asked."""
    kind, socket = telling.kind_of(engine), telling.socket(engine)
    end = time.monotonic() + PAUSE
    while time.monotonic() < end:
        knowledge = kind.ask(socket)
        if not knowledge or knowledge.default not in telling.names(engine):
            return
        time.sleep(0.1)


def carry_out(engine: Engine, say: Say, wait: Wait = time.sleep) -> None:
    """Have the engine read its files, and wait until it listens again.

    ``wait`` does the waiting: what it raises ends that.
    """
    way = way_of(engine)
    if way == NONE:
        say(f"{engine.name} has to be restarted to read its files (--restart-mode={NONE})")
        return
    socket = telling.socket(engine)
    if way == SYSTEMD:
        old = processes.peer(socket) if os.path.exists(socket) else 0
        _restart(engine)
    else:
        old = _signal(engine, socket, wait)
    if old:
        is_new = not telling.kind_of(engine).reloads or way == SYSTEMD
        _await(engine, socket, old, wait, is_new=is_new)
    say(f"{engine.name} was told to read its files ({way})")


def _signal(engine: Engine, socket: str, wait: Wait) -> int:
    """Send SIGHUP to who listens on the socket; return its process id."""
    problem = "nobody listens there"
    for number in range(TRIES):
        if number:
            wait(PAUSE)
        if not (pid := processes.peer(socket)):
            continue
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            problem = f"process {pid} cannot be signalled: {os_reason(error)}"
        else:
            return pid
    what = f"{engine.name} cannot be told to read its files: {problem}"
    raise NvidiaRuntimeError(what, socket, "--socket names its socket, --restart-mode another way")


def _restart(engine: Engine) -> None:
    root = telling.root_of(engine)
    words = ["systemctl", "restart", engine.name]
    where = f" in {root}" if root else ""
    answer = program.ask(words, seconds=SECONDS, root=root)
    if answer.is_refusal:
        reason = " ".join(answer.err.split()) or answer.problem
        what = f"'{' '.join(words)}'{where} failed: {reason}"
        raise NvidiaRuntimeError(what, hint=f"'journalctl -u {engine.name}' says why")
    if answer.problem:
        what = f"systemctl cannot be run{where}: {answer.problem}"
        raise NvidiaRuntimeError(what, hint="--restart-mode names another way")


def _await(engine: Engine, socket: str, old: int, wait: Wait, *, is_new: bool) -> None:
    """Wait until the engine listens; one that ends at the signal is started by its service."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pid = processes.peer(socket)
        if pid and (pid != old or not is_new):
            return
        wait(0.1)
    what = f"{engine.name} does not listen again within {SECONDS} s"
    raise NvidiaRuntimeError(what, socket, f"'journalctl -u {engine.name}' says why")
