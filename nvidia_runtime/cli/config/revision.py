# SPDX-License-Identifier: Apache-2.0
"""A config.toml before and after the assignments of --set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from nvidia_runtime.cli import files
from nvidia_runtime.cli.config import assignment
from nvidia_runtime.compile import config, toml_text
from nvidia_runtime.engines import write


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The old text, None if there is no file, and the new text with its warnings."""

    before: str | None
    after: str
    warnings: tuple[str, ...]


def revise(path: str, assignments: Sequence[str], separator: str) -> Revision:
    """Apply assignments in their order to a file, or to the default text, and add the samples.

    Raises `NvidiaRuntimeError` if the runtime could not load the result.
    """
    before: str | None
    try:
        before = config.read(path)
    except FileNotFoundError:
        before = None
    text = toml_text.default() if before is None else before
    config.decode(text, path)
    for words in assignments:
        key, value = assignment.read(words, separator)
        text = toml_text.put(text, key, value, path)
    settings, warnings = config.check(config.decode(text, path), path)
    config.check_ldconfig(settings, path)
    return Revision(before=before, after=toml_text.with_samples(text), warnings=tuple(warnings))


def change(path: str, assignments: Sequence[str], separator: str) -> Revision:
    """Apply assignments to the file itself; another run waits, so that it loses none of them."""
    with write.locked(path):
        revised = revise(path, assignments, separator)
        if revised.before != revised.after:
            write.carry_out([write.Change(path, write.read(path), revised.after)], lambda: "")
    return revised


def save(path: str, text: str) -> None:
    """Replace a file in one step, and keep its mode, owner and security label."""
    if os.path.exists(path) and not os.path.isfile(path):  # such as /dev/stdout
        files.write(path, text.encode())
        return
    with write.locked(path):
        write.carry_out([write.Change(path, write.read(path), text)], lambda: "")
