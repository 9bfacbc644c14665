# SPDX-License-Identifier: Apache-2.0
"""The loop of the service: it connects, answers, and connects again to an engine that restarts."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, NoReturn

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.nri import connection, messages
from nvidia_runtime.watch import notify

if TYPE_CHECKING:
    from nvidia_runtime.nri.plugin import Plugin

# Seconds until it tries again: as NVIDIA Container Toolkit does.
PAUSE = 2.0
STOPS = (signal.SIGTERM, signal.SIGINT)


class _Stopped(BaseException):
    """Raised by a signal, wherever the service waits."""


def run(plugin: Plugin, path: str, pause: float = PAUSE) -> None:
    """Serve until SIGTERM or SIGINT; what keeps it from serving is said once, not each time."""
    messages.classes()  # without protobuf there is nothing to wait for
    before = {number: signal.signal(number, _stop) for number in STOPS}
    try:
        _run(plugin, path, pause)
    except _Stopped:
        plugin.say("ending")
    finally:
        notify.tell("STOPPING=1")
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(plugin: Plugin, path: str, pause: float) -> NoReturn:
    said = ""
    notify.tell("READY=1")
    while True:
        problem = _serve(plugin, path)
        if problem != said:
            plugin.say(f"{problem}; trying again every {pause:g} s")
        said = problem
        threading.Event().wait(pause)


def _serve(plugin: Plugin, path: str) -> str:
    """Serve one engine until it ends; return how that came."""
    try:
        engine = connection.connect(path)
        with engine.socket:
            plugin.run(engine)
    except NvidiaRuntimeError as error:
        return str(error)
    except OSError as error:
        return f"{path}: {os_reason(error)}"
    return f"{path}: the engine has closed the connection"


def _stop(_number: int, _frame: object) -> NoReturn:
    raise _Stopped
