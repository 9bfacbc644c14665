# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime status: which engines are here, and what their files say of our runtime."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass, replace

from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import runtime as tables
from nvidia_runtime.engines import effect, native_cdi, reading, restart, running, supported
from nvidia_runtime.engines.engine import Engine, Summary
from nvidia_runtime.engines.running import Running
from nvidia_runtime.errors import NvidiaRuntimeError

HEAD = ("engine", "runs", "version", "our runtimes", "default runtime", "CDI", "file")
NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An engine as it is shown; ``cdi`` is None where its version is not known.

    ``restart_needed`` says that it has not read its files as they are, None that this cannot be
    told.  ``problem`` is why its files cannot be read, ``notes`` are for the user.
    """

    engine: str
    installed: bool
    running: bool
    pid: int = 0
    version: str = ""
    executable: str = ""
    socket: str = ""
    profile: str = ""
    file: str = ""
    file_exists: bool = False
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    is_default: bool = False
    cdi: bool | None = None
    restart_needed: bool | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()


class Show(Command):
    """nvidia-ctk runtime status."""

    table = tables.STATUS
    engine: str
    format: str

    def main(self) -> int:
        """Print a table, or JSON."""
        if self.engine and self.engine not in supported.NAMES:
            what = f"unrecognized runtime '{self.engine}'"
            hint = f"it is one of {', '.join(sorted(supported.NAMES))}"
            raise NvidiaRuntimeError(what, hint=hint)
        names = [self.engine] if self.engine else supported.NAMES
        statuses = [status for name in names for status in of(supported.ENGINES[name])]
        if self.format == "json":
            screen.print_json([asdict(status) for status in statuses])
            return 0
        print("\n".join(table(statuses)))
        for status in statuses:
            for message in filter(None, (status.problem, *status.notes)):
                print(f"\n{_name(status)}: {message}")
        return 0


def of(engine: Engine) -> list[Status]:
    """Describe each that runs of an engine, since there may be two, or what is installed of it."""
    return list(map(describe, running.all_of(engine))) or [
        Status(engine=engine.name, installed=False, running=False)
    ]


def describe(daemon: Running) -> Status:
    """Describe an engine; a file that cannot be read is a part of the description."""
    summary, problem, notes, is_behind = Summary(), daemon.elsewhere, [], None
    if not problem:
        try:
            summary = effect.summary(daemon.engine, daemon.config, daemon.version)
            summary = replace(summary, default=daemon.default or summary.default)
            notes = [native_cdi.note(daemon.engine, daemon.version, summary.cdi)]
            is_behind = reading.is_behind(daemon)
            if is_behind:
                words = shlex.join(restart.command(daemon))
                notes.append(f"it has not read its files since they changed: {words}")
        except NvidiaRuntimeError as error:
            problem = str(error)
    return Status(
        engine=daemon.engine.name,
        installed=True,
        running=daemon.pid != 0,
        pid=daemon.pid,
        version=".".join(map(str, daemon.version)),
        executable=daemon.executable,
        socket=daemon.socket,
        profile=daemon.profile.name,
        file=daemon.config,
        file_exists=os.path.exists(daemon.config) and not daemon.elsewhere,
        runtimes=summary.runtimes,
        default_runtime=summary.default,
        is_default=summary.is_default,
        cdi=native_cdi.is_on(daemon.engine, daemon.version, summary.cdi),
        restart_needed=is_behind,
        problem=problem,
        notes=tuple(filter(None, (daemon.profile.advice, daemon.profile.note, *notes))),
    )


def table(statuses: list[Status]) -> list[str]:
    """Lay out engines as lines of a table."""
    rows = [HEAD, *map(_row, statuses)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(status: Status) -> tuple[str, ...]:
    if not status.installed:
        return (_name(status), "not installed", *[NONE] * (len(HEAD) - 2))
    runs = f"pid {status.pid}" if status.running else "no"
    if status.restart_needed:
        runs += ", restart needed"
    if not supported.ENGINES[status.engine].has_daemon:
        runs = "no daemon"
    return (
        _name(status),
        runs,
        status.version or "unknown",
        ", ".join(status.runtimes) or NONE,
        (status.default_runtime or NONE) + (" (ours)" if status.is_default else ""),
        {None: "unknown", True: "on", False: "off"}[status.cdi],
        status.file + ("" if status.file_exists else " (absent)"),
    )


def _name(status: Status) -> str:
    return f"{status.engine} ({status.profile})" if status.profile else status.engine
