# SPDX-License-Identifier: Apache-2.0
"""The files of an image as its containers would see them: layers, one above the other.

Links are followed here, by the rules of `rootfs.resolver`, in the merged names alone: a layer is
only ever asked for a literal path.
"""

from __future__ import annotations

from typing import Protocol

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images.layers import FOLDER, LINK, Entry, Parts
from nvidia_runtime.rootfs.resolver import LONGEST, MOST_LINKS, MOST_NAMES, MOST_STEPS

# Looks into a layer until no more links are followed: an image may have them without end, and what
# is asked of a real one takes some thousands.
MOST_LOOKS = 1_000_000


class Layer(Protocol):
    """What `layers` has of each kind."""

    def look(self, parts: Parts) -> tuple[Entry | None, bool]:
        """Return what a path is, and whether layers below do not count for it."""

    def names(self, parts: Parts) -> tuple[dict[str, Entry], set[str], bool]:
        """List a folder: entries, names that are hidden below, and whether all of them are."""

    def open(self, parts: Parts) -> int:
        """Open a regular file."""


class Tree:
    """Layers, the topmost first."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._looks = 0

    def resolve(self, path: str, *, follow: bool = True) -> tuple[str, Entry] | None:
        """Return what a path leads to, and its own path; None for what is missing or too deep.

        Without ``follow`` its last component may be a link.  Raises `NvidiaRuntimeError` where all
        that was asked before has led to too many links.
        """
        pending = _components(path)
        own: list[str] = []
        links = steps = 0
        while pending:
            name = pending.pop()
            if name == "..":
                del own[-1:]
                continue
            entry = self._look((*own, name))
            if entry is None:
                return None
            if entry.kind == LINK and (pending or follow):
                target = _components(entry.target)
                links, steps = links + 1, steps + len(target)
                if links > MOST_LINKS or steps > MOST_STEPS or len(entry.target) > LONGEST:
                    return None
                if entry.target[:1] == "/":
                    own = []
                pending += target
                continue
            if entry.kind != FOLDER and pending:
                return None
            own.append(name)
        return "/" + "/".join(own), self._look(tuple(own)) or Entry(FOLDER)

    def names(self, path: str) -> dict[str, Entry]:
        """List a folder, its links followed; nothing for what is not a folder."""
        resolved = self.resolve(path)
        if resolved is None or resolved[1].kind != FOLDER:
            return {}
        parts = tuple(_components(resolved[0])[::-1])
        merged: dict[str, Entry] = {}
        hidden: set[str] = set()
        for layer in self._layers:
            entries, lost, hides = layer.names(parts)
            for name, entry in entries.items():
                if name not in hidden and len(merged) < MOST_NAMES:
                    merged.setdefault(name, entry)
            hidden |= lost
            if hides:
                break
        return merged

    def open(self, path: str) -> int:
        """Open a regular file, its links followed; raises `OSError`."""
        resolved = self.resolve(path)
        if resolved is None:
            raise FileNotFoundError(path)
        parts = tuple(_components(resolved[0])[::-1])
        for layer in self._layers:
            entry, hides = layer.look(parts)
            if entry is not None:
                return layer.open(parts)
            if hides:
                break
        raise FileNotFoundError(path)

    def _look(self, parts: Parts) -> Entry | None:
        implied = None if parts else Entry(FOLDER)
        for layer in self._layers:
            self._looks += 1
            if self._looks > MOST_LOOKS:
                raise NvidiaRuntimeError("it has too many links")
            entry, hides = layer.look(parts)
            if entry is not None and not entry.is_implied:
                return entry if not implied or entry.kind == LINK else implied
            implied = implied or entry
            if hides:
                break
        return implied


def _components(path: str) -> list[str]:
    """Return the components of a path, the first at the end."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]
