# SPDX-License-Identifier: Apache-2.0
"""Engines' files as they are, or as they will be once changes to them are written."""

from __future__ import annotations

import fnmatch
import glob
import os
from typing import TYPE_CHECKING

from nvidia_runtime.engines import write
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nvidia_runtime.engines.write import Change

EMPTY: Mapping[str, str] = {}


class View:
    """What an engine would read.

    Its machine is mounted at ``root``, "" for our own; ``names`` are files of that machine which
    have other paths here.
    """

    def __init__(
        self, changes: Iterable[Change] = (), *, root: str = "", names: Mapping[str, str] = EMPTY
    ) -> None:
        self.root, self.names = root, names
        self.texts = {os.path.realpath(change.path): change.after for change in changes}
        self.new = [change.path for change in changes if change.after is not None]

    def read(self, path: str) -> str:
        """Return the text of a file, "" where it is missing."""
        real = os.path.realpath(path)
        return (self.texts[real] if real in self.texts else write.read(path)) or ""

    def matching(self, pattern: str) -> list[str]:
        """List the files that match a pattern; a star does not cross folders."""
        return sorted({*glob.glob(pattern), *(path for path in self.new if covers(pattern, path))})

    def imported(self, pattern: str, folder: str) -> list[str]:
        """List the files that match a pattern in a file of a folder."""
        if not os.path.isabs(pattern) or not self.root:
            return self.matching(os.path.join(folder, pattern))
        length = len(self.root)
        present = {self.names.get(path[length:], path) for path in glob.glob(self.root + pattern)}
        named = (here for there, here in self.names.items() if covers(pattern, there))
        return sorted({*present, *(path for path in named if self._has(path))})

    def _has(self, path: str) -> bool:
        real = os.path.realpath(path)
        return self.texts[real] is not None if real in self.texts else os.path.exists(path)

    def listed(self, folder: str, suffix: str) -> list[str]:
        """List the files of a folder of drop-ins, in the order in which engines read them."""
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", folder) from None
        paths = {os.path.join(folder, name) for name in names}
        paths = {path for path in paths if os.path.isfile(path)}
        paths |= {path for path in self.new if os.path.dirname(path) == folder}
        return sorted(path for path in paths if path.endswith(suffix))


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern is one for a path."""
    patterns, parts = pattern.split("/"), path.split("/")
    return len(patterns) == len(parts) and all(map(fnmatch.fnmatchcase, parts, patterns))
