# SPDX-License-Identifier: Apache-2.0
"""What an engine makes of all its files, and which of them has the last word."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from nvidia_runtime.engines import difference, runtimes
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nvidia_runtime.engines.difference import Document
    from nvidia_runtime.engines.engine import (
        ChangeSet,
        Engine,
        Intent,
        Layer,
        Places,
        Summary,
        Version,
    )

    Look = Callable[[Document, Places], Any]


def summary(engine: Engine, path: str, version: Version = ()) -> Summary:
    """Return what an engine's files say of our runtimes to a version of it, () for any."""
    document = engine.combined(engine.layers(path, View()), version)
    return runtimes.summary(document, engine.places_in(document, path))


def is_default(engine: Engine, intent: Intent) -> bool:
    """Whether the runtime is the default already, by the files or a drop-in that is named."""
    layers = engine.layers(intent.config, intent.view())
    if intent.drop_in and intent.drop_in not in [path for path, _ in layers]:
        text = View().read(intent.drop_in)
        layers.append((intent.drop_in, engine.format.parse(text, intent.drop_in)))
    document = engine.combined(layers, intent.version)
    said = runtimes.summary(document, engine.places_in(document, intent.config))
    return said.is_default and said.default == intent.name


def planned(engine: Engine, intent: Intent) -> ChangeSet:
    """Return what adding the runtime changes; warn of a file that would be read over it."""
    plan = engine.configure(intent)
    try:
        warnings = _overruled(engine, intent, plan)
    except NvidiaRuntimeError as error:  # of another file, which is not ours to mend
        warnings = [str(error)]
    return replace(plan, warnings=(*plan.warnings, *warnings))


def _overruled(engine: Engine, intent: Intent, plan: ChangeSet) -> list[str]:
    """Warn of files that are read behind the one that we change, and say something else."""
    ours = plan.changes[0].path
    layers = engine.layers(intent.config, intent.view(plan.changes))
    real = os.path.realpath(ours)
    places = [number for number, (path, _) in enumerate(layers) if os.path.realpath(path) == real]
    if not places:  # it is read in a way of its own
        return []

    def program(document: Document, at: Places) -> Any:
        return difference.at(document, (*at.runtimes, intent.name, *at.program))

    def default(document: Document, at: Places) -> Any:
        return difference.at(runtimes.in_force(document, at), at.default)

    edit = "--config={} --drop-in-config= changes that one"
    if file := _last_word(engine, intent, layers, places[0], program):
        return [f"{file} is read after {ours} and hides the runtime there; {edit.format(file)}"]
    if intent.is_default and (file := _last_word(engine, intent, layers, places[0], default)):
        return [f"{file} is read after {ours} and has another default; {edit.format(file)}"]
    return []


def _last_word(engine: Engine, intent: Intent, layers: list[Layer], ours: int, look: Look) -> str:
    """Return the last file that makes another value of ours, "" where ours holds in the end."""
    values = []
    for end in range(ours + 1, len(layers) + 1):
        document = engine.combined(layers[:end], intent.version)
        values.append(look(document, engine.places_in(document, layers[0][0])))
    if difference.is_same(values[0], values[-1]):
        return ""
    changed = [
        number
        for number in range(1, len(values))
        if not difference.is_same(values[number - 1], values[number])
    ]
    return layers[ours + changed[-1]][0]
