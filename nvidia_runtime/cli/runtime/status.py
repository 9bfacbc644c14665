# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk runtime status: which engines are here, and what their files say of us.

Ring: elsewhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from plumbum import cli

from nvidia_runtime.cli.command import Command
from nvidia_runtime.engines import containerd, crio, docker, podman, profiles, running
from nvidia_runtime.engines.running import Running
from nvidia_runtime.engines.wanted import Found
from nvidia_runtime.errors import NvidiaRuntimeError

DESCRIBE = {
    "docker": docker.describe,
    "containerd": containerd.describe,
    "crio": crio.describe,
    "podman": podman.describe,
}
# The first versions that know CDI, and those that have it on where their file is silent.
CDI = {
    "docker": ((25,), (28, 2)),
    "containerd": ((1, 7), (2,)),
    "crio": ((1, 23), (1, 23)),
    "podman": ((4, 1), (4, 1)),
}
HEAD = ("engine", "runs", "version", "our runtimes", "default runtime", "CDI", "file")
NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An engine as people ask for it; ``cdi`` is None where its version is not known.

    ``problem`` is why its files could not be read, ``notes`` what else to know.
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
    problem: str = ""
    notes: tuple[str, ...] = ()


class Show(Command):
    """Say of each engine: whether it runs, its version and file, our runtimes there, CDI."""

    engine = cli.SwitchAttr(
        ["--runtime"],
        cli.Set(*profiles.ENGINES, case_sensitive=True),
        "",
        help="only this engine: docker, containerd, crio or podman",
    )
    format = cli.SwitchAttr(
        ["--format"], cli.Set("text", "json", case_sensitive=True), "text", help="text or json"
    )

    def main(self) -> int:
        """Print a table, or JSON."""
        engines = (str(self.engine),) if self.engine else profiles.ENGINES
        known = [each for engine in engines for each in of(engine)]
        if self.format == "json":
            print(json.dumps([asdict(each) for each in known], indent=2))
            return 0
        print("\n".join(table(known)))
        for each in known:
            for said in (each.problem, *each.notes):
                if said:
                    print(f"\n{_name(each)}: {said}")
        return 0


def of(engine: str) -> list[Status]:
    """Describe each that runs of an engine, since there may be two, or what is installed of it."""
    found = running.all_of(engine)
    return [status(each) for each in found] or [
        Status(engine=engine, installed=False, running=False)
    ]


def status(engine: Running) -> Status:
    """Describe an engine; a file that cannot be read is a part of the description."""
    found, problem = Found(), engine.elsewhere
    if not problem:
        try:
            found = DESCRIBE[engine.engine](engine.config)
        except NvidiaRuntimeError as error:
            problem = str(error)
    return Status(
        engine=engine.engine,
        installed=True,
        running=engine.pid != 0,
        pid=engine.pid,
        version=".".join(map(str, engine.version)),
        executable=engine.executable,
        socket=engine.socket,
        profile=engine.profile,
        file=engine.config,
        file_exists=os.path.exists(engine.config) and not engine.elsewhere,
        runtimes=found.runtimes,
        default_runtime=found.default,
        is_default=found.is_default,
        cdi=has_cdi(engine, found.cdi),
        problem=problem,
        notes=tuple(filter(None, (engine.advice, engine.note))),
    )


def has_cdi(engine: Running, said: bool | None) -> bool | None:
    """Whether an engine injects CDI devices itself; None where its version is not known."""
    if not engine.version:
        return said
    first, default = CDI[engine.engine]
    if engine.version < first:
        return False
    return engine.version >= default if said is None else said


def table(known: list[Status]) -> list[str]:
    """Lay out what is known as lines of a table."""
    rows = [HEAD, *map(_row, known)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(each: Status) -> tuple[str, ...]:
    if not each.installed:
        return (_name(each), "not installed", *[NONE] * (len(HEAD) - 2))
    runs = f"pid {each.pid}" if each.running else "no"
    if each.engine == "podman":
        runs = "no daemon"
    return (
        _name(each),
        runs,
        each.version or "unknown",
        ", ".join(each.runtimes) or NONE,
        (each.default_runtime or NONE) + (" (ours)" if each.is_default else ""),
        {None: "unknown", True: "on", False: "off"}[each.cdi],
        each.file + ("" if each.file_exists else " (absent)"),
    )


def _name(each: Status) -> str:
    return f"{each.engine} ({each.profile})" if each.profile else each.engine
