# SPDX-License-Identifier: Apache-2.0
"""The engine is told of the runtimes in a tree, and all of that is taken back.

In a container the engine's files and socket are where they were mounted, and the rest of its
machine is below the host's root.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from nvidia_runtime.engines import (
    apply,
    difference,
    effect,
    processes,
    program,
    runtimes,
    supported,
    undo,
    write,
)
from nvidia_runtime.engines.engine import Intent
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import wrappers

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.engines.engine import ChangeSet
    from nvidia_runtime.engines.engine import Engine as Kind
    from nvidia_runtime.installer.options import Engine

    Warn = Callable[[str], None]

NVIDIA, CDI, LEGACY = "nvidia", "nvidia-cdi", "nvidia-legacy"
STOCK = ("runc", "crun")


def root_of(engine: Engine) -> str:
    """Return where the engine's machine is mounted, "" where that is our own."""
    try:
        is_own = os.path.samefile(engine.host_root or "/", "/")
    except OSError:
        return ""
    return "" if is_own else engine.host_root.rstrip("/")


def kind_of(engine: Engine) -> Kind:
    """Return what is known of engines of this name."""
    return supported.ENGINES[engine.name]


def names(engine: Engine) -> dict[str, str]:
    """Return the runtimes by their names in the engine, each with its program's name."""
    first = NVIDIA if engine.runtime_name in (CDI, LEGACY) else engine.runtime_name
    return dict(zip((first, CDI, LEGACY), wrappers.RUNTIMES, strict=True))


def intent(engine: Engine, link: str = "", *, must_ask: bool = True) -> Intent:
    """Return what to add to the engine's files, for its first runtime."""
    kind, root = kind_of(engine), root_of(engine)
    config = os.path.abspath(engine.config or kind.profiles[0].config)
    drop_in = engine.drop_in
    if drop_in is None:
        drop_in = kind.drop_in.format(config=config)
    return Intent(
        name=next(iter(names(engine))),
        program=f"{link}/{wrappers.RUNTIMES[0]}",
        config=config,
        drop_in=drop_in,
        drop_in_there=engine.drop_in_there if drop_in else "",
        cdi=engine.cdi and bool(kind.places_in({}, config).cdi),
        by_command="command" in engine.sources and kind.prints_configuration,
        executable=engine.program,
        version=_version(kind, engine, root) if must_ask else (),
        root=root,
        annotations=tuple(f"{prefix}*" for prefix in engine.annotation_prefixes),
        kind=engine.kind,
    )


def _version(kind: Kind, engine: Engine, root: str) -> tuple[int, ...]:
    """Return the version of the daemon that runs, or of the program on its machine."""
    process = processes.read(processes.peer(socket(engine)))
    if process and process.owner == 0 and process.words[0]:
        path = process.executable
        if root and os.path.exists(root + path):
            return program.version(path, process.words[0], root=root)
        if not root and process.is_ours:
            return program.version(process.program, process.words[0])
    name = engine.program or kind.program
    return program.version("", name, root=root)


def socket(engine: Engine) -> str:
    """Return the engine's socket: the one that is named, or the first of its own that is there."""
    own = [path for profile in kind_of(engine).profiles[:1] for path in profile.sockets]
    present = [path for path in own if os.path.exists(path)]
    return engine.socket or next(iter((*present, *own)))


def low_level(engine: Engine) -> list[str]:
    """Return the low-level runtimes: those of the engine's files, its default first, and names."""
    kind, wanted = kind_of(engine), intent(engine, must_ask=False)
    paths: list[str] = []
    try:
        document = kind.combined(kind.layers(wanted.config, wanted.view()), ())
    except NvidiaRuntimeError:  # of which the step that changes them will tell
        return list(STOCK)
    places = kind.places_in(document, wanted.config)
    document = runtimes.in_force(document, places)
    default = difference.at(document, places.default)
    at = places.program or ("path",)
    for name in (default, *STOCK):
        path = difference.at(document, (*places.runtimes, name, *at)) if name else ""
        if isinstance(path, str) and path.startswith("/") and not runtimes.is_ours(path):
            paths.append(path)
    return list(dict.fromkeys((*paths, *STOCK)))


def configure(engine: Engine, link: str, warn: Warn) -> list[str]:
    """Write what the engine has to know; return the files that were changed.

    A run that is killed between two runtimes is completed by the next one.
    """
    kind, first = kind_of(engine), intent(engine, link)
    written: list[str] = []
    said: dict[str, None] = {}
    with write.locked(first.config):
        for name, file in names(engine).items():
            is_default = engine.is_default and name == engine.runtime_name
            one = replace(first, name=name, program=f"{link}/{file}", is_default=is_default)
            plan = _planned(kind, one, engine, said)
            written += apply.configure(kind, one, plan, warn)
            said |= dict.fromkeys(plan.warnings)
    for sentence in said:
        warn(sentence)
    return list(dict.fromkeys(written))


def _planned(kind: Kind, wanted: Intent, engine: Engine, said: dict[str, None]) -> ChangeSet:
    """Return what to change; where the engine does not answer, its files say what it runs with."""
    try:
        return effect.planned(kind, wanted)
    except NvidiaRuntimeError as error:
        if not wanted.by_command or all(source == "command" for source in engine.sources):
            raise
        said[f"{error}; its files are read"] = None
        return effect.planned(kind, replace(wanted, by_command=False))


def without_default(engine: Engine) -> Change | None:
    """Return what names the engine's own default, for one that forgets none; None if it may stay.

    At a signal docker takes over what its file says, and keeps what that no longer says.
    """
    kind, wanted = kind_of(engine), intent(engine, must_ask=False)
    before = write.read(wanted.config)
    if not kind.reloads or before is None:
        return None
    document = kind.format.parse(before, wanted.config)
    places = kind.places_in(document, wanted.config)
    if difference.at(document, places.default) not in names(engine):
        return None
    after = undo.plan(kind, wanted).changes[0].after or ""
    left = kind.format.parse(after, wanted.config)
    if difference.at(left, places.default) is not difference.ABSENT:
        return None
    edit = difference.Edit(places.default, STOCK[0])
    document = difference.carried_out([edit], document)
    return Change(wanted.config, before, kind.format.edited(before, document, wanted.config))


def swap(path: str, text: str, other: str) -> None:
    """Write one text in the place of another, if the file has that."""
    with write.locked(path):
        if write.read(path) == text:
            write.carry_out([Change(path, text, other)], lambda: "")


def unconfigure(engine: Engine, link: str, warn: Warn) -> list[str]:
    """Make the engine's files what they were; return those that were changed.

    One that cannot be read is left as it is, unless it names what goes.
    """
    kind, wanted = kind_of(engine), intent(engine, must_ask=False)
    with write.locked(wanted.config):
        try:
            plan = undo.plan(kind, wanted)
        except NvidiaRuntimeError as error:
            if any(_mentions(path, link) for path in (wanted.config, wanted.drop_in)):
                raise
            warn(f"{error}; it has nothing of ours, and stays")
            return []
        for sentence in plan.warnings:
            warn(sentence)
        return apply.unconfigure(kind, wanted, plan, warn)


def _mentions(path: str, link: str) -> bool:
    """Whether a file has a path in its text; in doubt it has, but one that is missing, or none."""
    try:
        with open(path, "rb") as file:
            return os.fsencode(link) in file.read()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
