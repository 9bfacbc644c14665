# SPDX-License-Identifier: Apache-2.0
"""Where paths of the host lead through folders in which anybody may make files and links.

What lies there is to be looked at again whenever it is used.
"""

from __future__ import annotations

import os
import stat

from nvidia_runtime.host.root import MOST_LINKS

OPEN = stat.S_ISVTX | stat.S_IWOTH


def of_mounts(paths: list[str]) -> dict[str, list[str]]:
    """Return, of the sources of mounts, those that lead through such folders, and what in them."""
    folders = {folder: on_the_way(folder) for folder in {os.path.dirname(path) for path in paths}}
    sources = {path: on_the_way(path) for path in dict.fromkeys(paths) if _is_shared(path, folders)}
    return {path: places for path, places in sources.items() if places}


def _is_shared(path: str, folders: dict[str, list[str]]) -> bool:
    folder = os.path.dirname(path)
    return path[:1] == "/" and bool(folders[folder] or _is_open(folder) or os.path.islink(path))


def on_the_way(path: str) -> list[str]:
    """Return the entries of folders that others may write to, on the way of a path."""
    pending = path.split("/")[::-1]
    places: dict[str, None] = {}
    at = ""
    links = 0
    while pending and links <= MOST_LINKS:
        name = pending.pop()
        if name == "..":
            at = at.rpartition("/")[0]
        if name in ("", ".", ".."):
            continue
        entry = f"{at}/{name}"
        if _is_open(at or "/"):
            places[entry] = None
        try:
            target = os.readlink(entry)
        except (OSError, ValueError):
            at = entry
            continue
        links += 1
        at = "" if target[:1] == "/" else at
        pending += target.split("/")[::-1]
    return list(places)


def stranger(path: str) -> str:
    """Return the link on the way of a path that somebody else made in such a folder, "" if none.

    The kernel follows none either where fs.protected_symlinks is set.
    """
    for place in on_the_way(path):
        try:
            status = os.lstat(place)
        except OSError:
            continue
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
            return place
    return ""


def _is_open(folder: str) -> bool:
    try:
        return bool(os.stat(folder).st_mode & OPEN)
    except (OSError, ValueError):
        return False
