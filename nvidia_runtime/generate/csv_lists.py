# SPDX-License-Identifier: Apache-2.0
"""The CSV lists of a Tegra system: the host's files that its containers get, one in a row.

A row is ``TYPE, PATH``: ``dev`` a device node, ``lib`` a library, ``dir`` a folder, ``sym`` a link.
Any other row is a comment.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import os_reason
from nvidia_runtime.host import root as driver_root

FOLDER = "/etc/nvidia-container-runtime/host-files-for-container.d"
# The lists for every container; JetPack adds others.
NAMES = ("devices.csv", "drivers.csv", "l4t.csv")
DEFAULT = tuple(f"{FOLDER}/{name}" for name in NAMES)
TYPES = ("dev", "lib", "dir", "sym")
ANYWHERE = "**/"
MOST_BYTES = 4 << 20


def read(files: tuple[str, ...]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the paths of each type in the order of files, and a warning for each unusable file."""
    rows: dict[str, list[str]] = {name: [] for name in TYPES}
    warnings = []
    for file in files:
        try:
            parsed = parse(_text(file))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
            warnings.append(f"skipped {file}: {os_reason(error)}")
            continue
        except OSError as error:
            raise driver_root.unreadable(file, error) from None
        if not parsed:
            warnings.append(f"skipped {file}: there is no row 'dev|lib|dir|sym, PATH' in it")
        for name, path in parsed:
            rows[name].append(path)
    return {name: list(dict.fromkeys(paths)) for name, paths in rows.items()}, warnings


def present() -> tuple[str, ...]:
    """Return those of the usual lists that exist; all of them if none does."""
    return tuple(file for file in DEFAULT if os.path.exists(file)) or DEFAULT


def parse(text: str) -> list[tuple[str, str]]:
    """Return the rows of a list: types and paths."""
    split = [line.partition(",") for line in text.split("\n")]
    rows = [(name.strip(), path.strip()) for name, comma, path in split if comma]
    return [(name, path) for name, path in rows if name in TYPES and path]


def without(paths: list[str], patterns: tuple[str, ...]) -> list[str]:
    """Leave out paths that a pattern matches."""
    return [path for path in paths if not any(is_ignored(path, one) for one in patterns)]


def is_ignored(path: str, pattern: str) -> bool:
    """Whether a pattern matches a path: ``**/NAME`` by its last part, others as a whole."""
    if pattern.startswith(ANYWHERE):
        return _matches([path.rpartition("/")[2]], pattern[len(ANYWHERE) :].split("/"))
    return _matches(path.split("/"), pattern.split("/"))


def _matches(parts: list[str], patterns: list[str]) -> bool:
    from fnmatch import fnmatchcase  # loads re, and few have a pattern

    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _text(file: str) -> str:
    with open(file, encoding="utf-8", errors="replace") as opened:
        text = opened.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES or "\0" in text:
        raise ValueError("it is not a list of files")
    return text
