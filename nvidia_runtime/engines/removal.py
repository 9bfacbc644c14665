# SPDX-License-Identifier: Apache-2.0
"""What is kept for the purge of a package: engines' files as they are without our runtime.

A purge comes when our programs have gone, and perhaps Python has.  So what `unconfigure` would
write is kept before, in files that a shell can compare and copy.  ``1.path`` names the first of
the engines' files, ``1.now`` is what it contains, ``1.then`` what it is to contain, missing where
the file is to go, and ``1.folders`` lists the folders that may go with it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

from nvidia_runtime.engines import journal, supported, undo, write
from nvidia_runtime.engines.engine import Engine, Intent, expanded
from nvidia_runtime.engines.runtimes import PROGRAM
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError

NAME = "purge"


def main() -> None:
    """Keep what a purge needs, and say on stderr what the engines have until then."""
    keep(warn("purge the package, or install it again"))


def warn(
    advice: str = "install it again, and run 'nvidia-ctk runtime unconfigure' first",
) -> list[Change]:
    """Say on stderr what the engines still have; return what would take it out."""
    changes, warnings = plan()
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if changes:
        paths = ", ".join(change.path for change in changes)
        what = f"engines still call the runtime that is removed: {paths}"
        sys.stderr.write(f"{what}\nhint: {advice}\n")
    return changes


def plan() -> tuple[list[Change], list[str]]:
    """Return what takes our runtime out of all files in the journal, and what cannot be."""
    changes: dict[str, Change] = {}
    warnings: list[str] = []
    for engine in supported.ENGINES.values():
        for intent in _intents(engine):
            try:
                done = undo.plan(engine, intent)
            except NvidiaRuntimeError as error:
                warnings.append(str(error))
                continue
            warnings += done.warnings
            for change in done.changes:
                path = os.path.realpath(change.path)
                if change.is_needed and path.isprintable():
                    changes.setdefault(path, Change(path, change.before, change.after))
    return list(changes.values()), warnings


def _intents(engine: Engine) -> Iterator[Intent]:
    """Name the files of an engine that are in the journal, those together that are of one."""
    entries = journal.entries().items()
    left = {path for path, entry in entries if entry.engine == engine.name and not entry.is_undone}
    pairs = []
    for profile in engine.profiles:
        config = expanded(profile.config)
        pairs.append((config, profile.drop_in or engine.drop_in.format(config=config)))
    for config, drop_in in (*pairs, *((path, "") for path in sorted(left))):
        paths = {os.path.realpath(path) for path in (config, drop_in) if path}
        if config and paths & left:
            left -= paths
            yield Intent(name="nvidia", program=PROGRAM, config=config, drop_in=drop_in)


def keep(changes: list[Change]) -> None:
    """Write the files; the path comes last, and what has none does not count."""
    folder = os.path.join(journal.folder(), NAME)
    shutil.rmtree(folder, ignore_errors=True)
    if not changes:
        return
    os.makedirs(folder, 0o700)
    entries = journal.entries()
    for number, change in enumerate(changes, start=1):
        with open(change.path, "rb") as file:
            now = file.read()
        texts = {"now": now}
        if change.after is None:
            entry = entries.get(change.path)
            folders = sorted(entry.folders if entry else (), key=len, reverse=True)
            texts["folders"] = "".join(f"{one}\n" for one in folders).encode()
        else:
            mark = write.BYTE_ORDER_MARK
            texts["then"] = (mark if now.startswith(mark) else b"") + change.after.encode()
        texts["path"] = change.path.encode()
        for suffix, data in texts.items():
            with open(os.path.join(folder, f"{number}.{suffix}"), "xb") as file:
                file.write(data)
