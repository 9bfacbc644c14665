# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon that runs has read its files as they are now: it is asked, or its age tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.engines import native_cdi, runtimes
from nvidia_runtime.engines.view import View

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Knowledge, Layer
    from nvidia_runtime.engines.running import Running


# What changes so soon after its start a daemon has still to read; the kernel counts ticks of 10 ms.
LOADING = 0.05


def is_behind(daemon: Running) -> bool | None:
    """Whether a daemon has still to read what its files say; None where that cannot be told.

    Raises `NvidiaRuntimeError` for a file that cannot be read.
    """
    if not can_be_told(daemon):
        return None
    layers = daemon.engine.layers(daemon.config, View())
    return has_not_read(daemon, layers, daemon.engine.ask(daemon.socket))


def can_be_told(daemon: Running) -> bool:
    """Whether there is a daemon that reads files which we see, and which are the user's."""
    seen = daemon.pid and not daemon.elsewhere
    return bool(seen and not daemon.profile.advice and not daemon.template)


def has_not_read(daemon: Running, layers: list[Layer], knowledge: Knowledge | None) -> bool | None:
    """Whether a daemon has still to read its files, given what it says that it knows."""
    if knowledge:
        return _differs(daemon, layers, knowledge)
    return _has_changed(daemon, layers) if daemon.began else None


def _differs(daemon: Running, layers: list[Layer], knowledge: Knowledge) -> bool:
    """Whether a daemon knows others of our runtimes than its files have, or another default."""
    document = daemon.engine.combined(layers, daemon.version)
    places = daemon.engine.places_in(document, daemon.config)
    ours = runtimes.programs(document, places)
    kept = {name for name, path in knowledge.programs.items() if runtimes.is_ours(path)}
    summary = runtimes.summary(document, places)
    default = daemon.default or summary.default
    is_same_default = default == knowledge.default if default else knowledge.default not in kept
    setting = native_cdi.is_on(daemon.engine, daemon.version, summary.cdi)
    is_other_cdi = None not in (setting, knowledge.cdi) and setting != knowledge.cdi
    is_missing = any(not _is_same(knowledge.programs.get(name), ours[name]) for name in ours)
    # One that the files lack may have come by a flag, but not when they have changed since.
    is_left = bool(kept - ours.keys()) and _has_changed(daemon, layers)
    return is_missing or not is_same_default or is_other_cdi or is_left


def _is_same(path: str | None, program: str) -> bool:
    """Whether a daemon means a program, which it may name by its path."""
    return path is not None and path.endswith(program)


def _has_changed(daemon: Running, layers: list[Layer]) -> bool:
    """Whether one of the files changed, came or went when the daemon had been started already.

    ctime tells, which no restored backup sets back.
    """
    paths = [path for path, _ in layers]
    own = os.path.dirname(daemon.config)
    folders = [os.path.dirname(path) for path in paths[1:] if os.path.exists(path)]
    drop_ins = os.path.dirname(daemon.engine.drop_in.format(config=daemon.config))
    if drop_ins.startswith(f"{own}/"):
        folders.append(drop_ins)
    if not os.path.exists(daemon.config):
        folders.append(own)
    return any(_ctime(path) > daemon.began + LOADING for path in (*paths, *folders))


def _ctime(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:
        return 0.0
