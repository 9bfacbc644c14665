# SPDX-License-Identifier: Apache-2.0
"""The text of config.toml with some settings changed, and the writing of it.  Ring: elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from nvidia_runtime.cli import files
from nvidia_runtime.cli.config import set
from nvidia_runtime.cli.config import text as config_text
from nvidia_runtime.compile import config
from nvidia_runtime.engines import write
from nvidia_runtime.engines.write import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A file's text before and after, whether there was a file, and what is odd about it."""

    source: str
    text: str
    was_there: bool
    warnings: tuple[str, ...]


def default() -> str:
    """Return the config.toml to begin with."""
    return config_text.default()


def change(path: str, options: Sequence[str], separator: str) -> Edit:
    """Return the text of a file with all that --set says, in order, and with samples.

    Raises `NvidiaRuntimeError` for what could not be loaded afterwards.
    """
    try:
        source = config.read(path)
    except FileNotFoundError:
        source = ""
    was_there = bool(source) or os.path.lexists(path)
    text = source if was_there else config_text.default()
    config.decode(text, path)
    for option in options:
        key, value = set.read(option, separator)
        if value is set.GONE:
            text = config_text.take(text, key, path)
        else:
            text = config_text.put(text, key, value, path)
    settings, warnings = config.check(config.decode(text, path), path)
    config.check_ldconfig(settings, path)
    text = config_text.with_samples(text)
    return Edit(source=source, text=text, was_there=was_there, warnings=tuple(warnings))


def save(path: str, text: str) -> None:
    """Write a file in one step; mode, owner and label of one that is there stay."""
    if os.path.exists(path) and not os.path.isfile(path):  # such as /dev/stdout
        files.write(path, text.encode())
        return
    with write.locked(path):
        write.carry_out([Change(path, write.read(path), text)], lambda: "")
