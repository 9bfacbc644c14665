# SPDX-License-Identifier: Apache-2.0
"""A layer of an image by itself: a folder of an engine's storage; `tar_layers` has the others.

Paths are literal: no link is followed, so none can lead out.  What a layer hides of those below it
is said beside what it has.
"""

from __future__ import annotations

import os
import posix
import stat
from dataclasses import dataclass

from nvidia_runtime.rootfs import files, resolver

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"
KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: LINK}
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
# overlay(5) in root's and in a user's namespace, and fuse-overlayfs.
OPAQUE_MARKS = (
    "trusted.overlay.opaque",
    "user.overlay.opaque",
    "user.fuseoverlayfs.opaque",
)
Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What has a name in a layer; ``size`` is a file's, ``target`` a link's.

    ``is_implied`` is a folder that only the names of others tell of: a link of a layer below it
    may be meant.
    """

    kind: str
    size: int = 0
    target: str = ""
    is_implied: bool = False


class FolderLayer:
    """A folder; ``is_upper`` says that it may have marks that hide what is below it."""

    def __init__(self, path: str, *, is_upper: bool) -> None:
        self._root = resolver.open_root(path)
        self._is_upper = is_upper

    def look(self, parts: Parts) -> tuple[Entry | None, bool]:
        """Return what a path is, and whether layers below do not count for it."""
        place, hides = self._walk(parts)
        if place is None:
            return None, hides
        with place:
            return _entry(place), hides

    def names(self, parts: Parts) -> tuple[dict[str, Entry], set[str], bool]:
        """List a folder: entries, names that are hidden below, and whether all of them are."""
        place, hides = self._walk(parts)
        if place is None:
            return {}, set(), hides
        entries: dict[str, Entry] = {}
        hidden: set[str] = set()
        with place:
            if not stat.S_ISDIR(place.status().st_mode):
                return {}, set(), True
            for name in place.names():
                if self._is_upper and name.startswith(WHITEOUT):
                    hides = hides or name == OPAQUE
                    hidden.add(name.removeprefix(WHITEOUT))
                    continue
                with resolver.Place(place.entry(name), name) as child:
                    if self._is_upper and _is_whiteout(child):
                        hidden.add(name)
                    else:
                        entries[name] = _entry(child)
        return entries, hidden, hides

    def open(self, parts: Parts) -> int:
        """Open a regular file; raises `OSError`."""
        place, _ = self._walk(parts)
        if place is None:
            raise FileNotFoundError("/".join(parts))
        with place:
            return files.open_place(place)

    def _walk(self, parts: Parts) -> tuple[resolver.Place | None, bool]:
        """Go down by names alone; None where there is nothing that can be reached."""
        place = resolver.Place(posix.dup(self._root.descriptor), "/")
        hides = False
        for number, part in enumerate(parts):
            with place:
                if self._is_upper and _has(place, WHITEOUT + part):
                    return None, True
                try:
                    child = resolver.Place(place.entry(part), f"{place.path.rstrip('/')}/{part}")
                except OSError:
                    return None, hides
            if self._is_upper and _is_whiteout(child):
                child.__exit__()
                return None, True
            if not stat.S_ISDIR(child.status().st_mode):
                hides = True
                if number + 1 < len(parts):
                    child.__exit__()
                    return None, True
            elif self._is_upper and _is_opaque(child):
                hides = True
            place = child
        return place, hides


def _entry(place: resolver.Place) -> Entry:
    status = place.status()
    kind = KINDS.get(stat.S_IFMT(status.st_mode), OTHER)
    target = ""
    if kind == LINK:
        target = resolver.decode(posix.readlink(b"", dir_fd=place.descriptor))
    return Entry(kind, status.st_size if kind == FILE else 0, target)


def _has(place: resolver.Place, name: str) -> bool:
    try:
        posix.stat(resolver.encode(name), dir_fd=place.descriptor, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_whiteout(place: resolver.Place) -> bool:
    status = place.status()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(place: resolver.Place) -> bool:
    if _has(place, OPAQUE):
        return True
    for name in OPAQUE_MARKS:
        try:
            if os.getxattr(place.by_descriptor(), name) == b"y":
                return True
        except OSError:
            continue
    return False
