# SPDX-License-Identifier: Apache-2.0
"""Restarting an engine so that it reads its new configuration: only when asked for."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from nvidia_runtime.engines import running
from nvidia_runtime.engines.engine import Engine
from nvidia_runtime.engines.running import Running
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

NONE = "none"
ASK = "ask"
SYSTEMD = "systemd"
SIGNAL = "signal"
WAYS = (NONE, ASK, SYSTEMD, SIGNAL)
SECONDS = 120  # what restarting may take, and what coming back may take
UNIT = re.compile(r"/([^/]+)\.service(?:/|$)", re.MULTILINE)


def check(engine: Engine, way: str) -> None:
    """Raise `NvidiaRuntimeError` where an engine cannot be made to read its files in this way."""
    if way == SIGNAL and engine.has_daemon and not engine.reloads:
        what = f"{engine.name} reads its configuration only when it starts"
        raise NvidiaRuntimeError(what, hint=f"--restart={SYSTEMD} restarts it")


def check_daemon(daemon: Running, way: str) -> None:
    """Raise `NvidiaRuntimeError` where what would restart a daemon is missing."""
    words = command(daemon) if daemon.pid else []
    if way == SYSTEMD and words and not shutil.which(words[0]):
        what = f"{words[0]}, which would restart {daemon.engine.name}, is not on this machine"
        raise NvidiaRuntimeError(what, hint="leave --restart out, and restart it yourself")


def carry_out(daemon: Running, way: str, tell: Callable[[str], None]) -> None:
    """Make a daemon read its configuration again in one of the ways, or say how to.

    Raises `NvidiaRuntimeError` where it cannot, or when the daemon does not come back.
    """
    name = daemon.engine.name
    if not daemon.pid:
        if daemon.engine.has_daemon:
            tell(f"{name} does not run; it reads the file when it starts")
        return
    words = command(daemon)
    if way == ASK:
        way = SYSTEMD if shutil.which(words[0]) and _is_wanted(name, words) else NONE
    if way == NONE:
        tell(f"to make {name} read the file: {shlex.join(words)}")
    elif way == SIGNAL:
        _signal(daemon, tell)
    else:
        _restart(daemon, words, tell)


def command(daemon: Running) -> list[str]:
    """Return the words that restart a daemon, by the service that its process belongs to."""
    units = daemon.profile.units
    unit = next((name for name in _services(daemon.pid) if name in units), units[0])
    return [*daemon.profile.restart, unit]


def _services(pid: int) -> list[str]:
    """List the services that a process belongs to, as its control groups name them."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return UNIT.findall(file.read())
    except OSError:
        return []


def _is_wanted(name: str, words: list[str]) -> bool:
    """Ask on the terminal; without one the answer is no."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    question = f"restart {name} now ({shlex.join(words)})? [y/N] "
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _signal(daemon: Running, tell: Callable[[str], None]) -> None:
    name = daemon.engine.name
    check(daemon.engine, SIGNAL)
    try:
        os.kill(daemon.pid, signal.SIGHUP)
    except OSError as error:
        what = f"cannot signal {name} (pid {daemon.pid}): {os_reason(error)}"
        raise NvidiaRuntimeError(what) from None
    tell(f"{name} (pid {daemon.pid}) was told to read {daemon.engine.reloads} again;")
    tell("what the file no longer names it keeps until it is restarted")


def _restart(daemon: Running, words: list[str], tell: Callable[[str], None]) -> None:
    line = shlex.join(words)
    tell(f"restarting {daemon.engine.name}: {line}")
    try:
        process = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot run {words[0]}: {os_reason(error)}") from None
    except subprocess.TimeoutExpired:
        raise NvidiaRuntimeError(f"'{line}' takes longer than {SECONDS} s") from None
    if process.returncode:
        reason = " ".join(process.stderr.decode(errors="replace").split())
        what = f"'{line}' failed: {reason or f'exit status {process.returncode}'}"
        raise NvidiaRuntimeError(what, hint=_hint(words))
    _await(daemon, words)
    tell(f"{daemon.engine.name} runs again")


def _await(old: Running, words: list[str]) -> None:
    """Wait until a daemon listens on the socket that the old one had."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if any(
            new.socket == old.socket and new.pid not in (0, old.pid)
            for new in running.all_of(old.engine)
        ):
            return
        time.sleep(0.2)
    what = f"{old.engine.name} does not listen on {old.socket} again"
    raise NvidiaRuntimeError(what, hint=_hint(words))


def _hint(words: list[str]) -> str:
    unit = words[-1]
    if words[0] == "snap":
        return f"'snap logs {unit}' says why"
    return f"'journalctl {'--user ' if '--user' in words else ''}-u {unit}' says why"
