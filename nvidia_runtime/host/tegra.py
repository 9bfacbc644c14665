# SPDX-License-Identifier: Apache-2.0
"""Where the files are that a Tegra system's lists name: nodes, libraries, folders and links.

Each function returns the files of each entry, in order; an entry may be a pattern.
"""

from __future__ import annotations

import os

from nvidia_runtime.host import nodes
from nvidia_runtime.host import root as driver_root

MAGIC = frozenset("*?[")
DEV = "/dev"


class LinkedFile:
    """The file that an entry leads to, and the links on the way: their paths and targets."""

    __slots__ = ("file", "steps")

    def __init__(self, file: str, steps: list[tuple[str, str]]) -> None:
        self.file = file
        self.steps = steps


def find_nodes(root: str, entries: list[str]) -> dict[str, list[nodes.DeviceNode]]:
    """Find the device nodes of entries; a relative one is in /dev."""
    devices = {}
    for entry in entries:
        paths = find(root, entry if entry[:1] == "/" else f"{DEV}/{entry}")
        present = [nodes.read(root, path) for path in paths]
        devices[entry] = [node for node in present if node]
    return devices


def find_files(root: str, folders: tuple[str, ...], entries: list[str]) -> dict[str, list[str]]:
    """Find the files of entries, as host's paths with all links resolved.

    A relative one is looked for in the folders, which are the driver's or the host's.
    """
    files: dict[str, list[str]] = {}
    for entry in entries:
        places = [entry] if entry[:1] == "/" else [f"{folder}/{entry}" for folder in (*folders, "")]
        paths = [path for place in places for path in find(root, driver_root.strip(place, root))]
        resolved = [_resolve(root, path) for path in paths]
        files[entry] = [file for file in resolved if file]
    return files


def find_folders(root: str, entries: list[str]) -> dict[str, list[str]]:
    """Find the folders of entries, as the driver's paths."""
    return {
        entry: [path for path in find(root, entry) if os.path.isdir(_source(root, path))]
        for entry in entries
    }


def find_links(root: str, entries: list[str]) -> dict[str, list[LinkedFile]]:
    """Follow the links of entries to their files; those that lead to no file are left out."""
    followed = {entry: [follow(root, path) for path in find(root, entry)] for entry in entries}
    return {entry: [link for link in links if link] for entry, links in followed.items()}


def find(root: str, pattern: str) -> list[str]:
    """Find what exists by a path or a pattern below the root: the driver's paths, in order."""
    if pattern[:1] != "/":
        pattern = f"/{pattern}"
    host_path = driver_root.join(root, pattern)
    if not MAGIC.intersection(pattern):
        return [pattern] if os.path.lexists(host_path) else []
    import glob  # loads re, and most entries are paths

    above = glob.escape(root.rstrip("/"))
    return [
        driver_root.strip(p, root)
        for p in sorted(glob.glob(f"{above}{pattern}", include_hidden=True))
    ]


def follow(root: str, path: str) -> LinkedFile | None:
    """Follow a link step by step; ``None`` if it leads to no file below the root.

    An absolute one means a file of that root: in the container it leads there, too.
    """
    steps: list[tuple[str, str]] = []
    while os.path.islink(at := driver_root.join(root, path)):
        try:
            target = os.readlink(at)
        except OSError as error:
            if driver_root.is_missing(error):
                return None
            raise driver_root.unreadable(at, error) from None
        steps.append((path, target))
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if len(steps) > driver_root.MOST_LINKS:
            return None
    file = _resolve(root, path)
    return LinkedFile(file, steps) if file else None


def _source(root: str, path: str) -> str:
    return driver_root.source(driver_root.join(root, path), root)


def _resolve(root: str, path: str) -> str:
    """Resolve all links of a path, "" unless they lead to a file."""
    try:
        file = driver_root.resolve(driver_root.join(root, path), root)
    except OSError as error:
        if driver_root.is_missing(error) or isinstance(error, PermissionError):
            return ""
        raise driver_root.unreadable(path, error) from None
    return file if os.path.exists(file) and not os.path.isdir(file) else ""
