# SPDX-License-Identifier: Apache-2.0
"""Restarting an engine so that it reads its new configuration: only when asked for.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from nvidia_runtime.engines import profiles, running
from nvidia_runtime.engines.running import Running
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

NONE = "none"
ASK = "ask"
SYSTEMD = "systemd"
SIGNAL = "signal"
WAYS = (NONE, ASK, SYSTEMD, SIGNAL)
SECONDS = 120  # what restarting may take, and what coming back may take
# Which daemons read their configuration again at SIGHUP, and what they leave out of it.
RELOADS = {"docker": "runtimes and the default runtime, but not CDI"}
UNIT = re.compile(r"/([^/]+)\.service(?:/|$)", re.MULTILINE)


def carry_out(engine: Running, way: str, tell: Callable[[str], None]) -> None:
    """Make an engine read its configuration again in one of the ways, or say how to.

    Raises `NvidiaRuntimeError` where it cannot, or when the engine does not come back.
    """
    if not engine.pid:
        if engine.engine != "podman":
            tell(f"{engine.engine} does not run; it reads the file when it starts")
        return
    words = command(engine)
    if way == ASK:
        way = SYSTEMD if _is_wanted(engine, words) else NONE
    if way == NONE:
        tell(f"to make {engine.engine} read the file: {shlex.join(words)}")
    elif way == SIGNAL:
        _signal(engine, tell)
    else:
        _restart(engine, words, tell)


def command(engine: Running) -> list[str]:
    """Return the words that restart an engine, by the service that its process belongs to."""
    profile = profiles.named(engine.engine, engine.profile)
    unit = next((name for name in _services(engine.pid) if name in profile.units), "")
    return [*profile.restart, unit or profile.units[0]]


def _services(pid: int) -> list[str]:
    """List the services that a process belongs to, as its control groups name them."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return UNIT.findall(file.read())
    except OSError:
        return []


def _is_wanted(engine: Running, words: list[str]) -> bool:
    """Ask on the terminal; where there is none, the answer is no."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    question = f"restart {engine.engine} now ({shlex.join(words)})? [y/N] "
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _signal(engine: Running, tell: Callable[[str], None]) -> None:
    if engine.engine not in RELOADS:
        what = f"{engine.engine} reads its configuration only when it starts"
        raise NvidiaRuntimeError(what, hint=f"--restart={SYSTEMD} restarts it")
    try:
        os.kill(engine.pid, signal.SIGHUP)
    except OSError as error:
        what = f"cannot signal {engine.engine} (pid {engine.pid}): {os_reason(error)}"
        raise NvidiaRuntimeError(what) from None
    tell(f"{engine.engine} (pid {engine.pid}) was told to read {RELOADS[engine.engine]} again;")
    tell("what the file no longer names it keeps until it is restarted")


def _restart(engine: Running, words: list[str], tell: Callable[[str], None]) -> None:
    said = shlex.join(words)
    tell(f"restarting {engine.engine}: {said}")
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot run {words[0]}: {os_reason(error)}") from None
    except subprocess.TimeoutExpired:
        raise NvidiaRuntimeError(f"'{said}' takes longer than {SECONDS} s") from None
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise NvidiaRuntimeError(f"'{said}' failed: {text}", hint=_hint(words))
    _await(engine, words)
    tell(f"{engine.engine} runs again")


def _await(engine: Running, words: list[str]) -> None:
    """Wait until a daemon listens on the socket that the old one had."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = running.all_of(engine.engine)
        if any(each.socket == engine.socket and each.pid not in (0, engine.pid) for each in found):
            return
        time.sleep(0.2)
    what = f"{engine.engine} does not listen on {engine.socket} again"
    raise NvidiaRuntimeError(what, hint=_hint(words))


def _hint(words: list[str]) -> str:
    unit = words[-1]
    if words[0] == "snap":
        return f"'snap logs {unit}' says why"
    return f"'journalctl {'--user ' if '--user' in words else ''}-u {unit}' says why"
