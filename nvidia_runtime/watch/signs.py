# SPDX-License-Identifier: Apache-2.0
"""Signs that a machine may have changed, without asking NVML or waking a GPU.

MIG devices, IMEX channels, sockets and a driver's files come and go without a uevent, so they are
looked at every few seconds: a millisecond of listings and lstat.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import driver, ldcache
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.platform import CACHE

# What is seen of a path; a missing one has no sign.
Sign = tuple[int | str, ...]
Signs = dict[str, Sign]

TEXTS = ("/sys/module/nvidia/version", "/sys/module/nvidia/srcversion")
GPUS = "/proc/driver/nvidia/gpus"
CAPABILITIES = "/proc/driver/nvidia/capabilities"
# capabilities/gpu0/mig/gi1/ci0/access
DEEPEST = 5
# Folders of device nodes, with the beginnings of the names that matter there.
NODES = {
    "/dev": ("nvidia", "nvhost", "nvgpu", "nvmap", "dxg", "gdrdrv"),
    "/dev/nvidia-caps": ("",),
    "/dev/nvidia-caps-imex-channels": ("",),
    "/dev/dri": ("",),
}
SOCKETS = (
    "/run/nvidia-persistenced/socket",
    "/run/nvidia-fabricmanager/socket",
)
LIBRARIES = ("libcuda", "libnv")
LIKE_THE_DRIVER = (*LIBRARIES, "nv", "tegra", "channel")
# Of the paths that a generator watches, those that are looked at in another way.
KNOWN = ("/dev", "/proc/driver/nvidia", "/sys", *SOCKETS)
MOST_NAMED = 3
# Nanoseconds: a tick of file times, and of file systems that count in seconds.
TICK = 10**7
SETTLED = 2 * 10**9


class Lookout:
    """The places of a driver root that are looked at, with listings of large folders."""

    __slots__ = ("_listings", "folders", "machine", "watched")

    def __init__(self, root: str = "/", machine: str = "") -> None:
        """Take the driver root, and the root of another machine's /proc, /sys and /dev."""
        self.machine = machine.rstrip("/")
        self.folders = tuple(
            dict.fromkeys(
                os.path.realpath(driver_root.join(root, folder))
                for folder in driver.LIBRARY_FOLDERS
                if folder != "/"
            )
        )
        self.watched: tuple[str, ...] = ()
        self._listings: dict[str, tuple[int, list[str]]] = {}

    def widen(self, paths: list[str], signs: Signs, since: int) -> Signs:
        """Look at these files and folders too; return the signs as if they were looked at before.

        What has changed since ``since``, in nanoseconds, differs at the next look.
        """
        before = self.watched
        self.watched = tuple(path for path in dict.fromkeys(paths) if self._is_new(path))
        dropped = set(before) - set(self.watched)
        kept = {path: sign for path, sign in signs.items() if path not in dropped}
        seen = self.look()
        added = [path for path in self.watched if path in seen and path not in (*before, *kept)]
        return kept | {path: () if _has_changed(path, since) else seen[path] for path in added}

    def _is_new(self, path: str) -> bool:
        """Whether a path is not looked at already."""
        is_seen = path in KNOWN or path.startswith(tuple(f"{folder}/" for folder in KNOWN))
        return path[:1] == "/" and not is_seen and os.path.realpath(path) not in self.folders

    def look(self) -> Signs:
        """Return the signs of everything."""
        signs: Signs = {}
        self._read_texts(signs)
        for name in _listed(self.machine + GPUS):
            signs[f"{GPUS}/{name}"] = ()
        _walk(self.machine, CAPABILITIES, DEEPEST, signs)
        for folder, beginnings in NODES.items():
            for name in self._names(self.machine + folder):
                if name.startswith(beginnings):
                    _note_node(self.machine, f"{folder}/{name}", signs)
        for path in SOCKETS:
            _note_file(self.machine, path, signs, with_time=False)
        for folder in self.folders:
            for name in self._names(folder):
                if name.startswith(LIBRARIES):
                    _note_file("", f"{folder}/{name}", signs)
        for path in self.watched:
            self._note_watched(path, signs)
        return signs

    def _note_watched(self, path: str, signs: Signs) -> None:
        """Note a file; of a folder and the loader's cache, only names like the driver's."""
        if os.path.isdir(path):
            signs[path] = tuple(name for name in self._names(path) if _is_like_the_driver(name))
        elif path.endswith(CACHE):
            signs[path] = tuple(self._names(path, lambda: _cached(path.removesuffix(CACHE))))
        else:
            _note_file("", path, signs)

    def _read_texts(self, signs: Signs) -> None:
        for path in TEXTS:
            try:
                with open(self.machine + path, encoding="utf-8", errors="replace") as file:
                    signs[path] = (file.read(256).strip(),)
            except OSError:
                continue

    def _names(self, folder: str, read: Callable[[], list[str]] | None = None) -> list[str]:
        """List a folder, which may have a thousand libraries, only if its time has changed."""
        try:
            changed = os.stat(folder).st_mtime_ns
        except OSError:
            return []
        listing = self._listings.get(folder)
        # It may change again within the same tick of the clock.
        if listing and listing[0] == changed and time.time_ns() - changed > SETTLED:
            return listing[1]
        try:
            names = read() if read else driver_root.names(folder)
        except NvidiaRuntimeError:
            return listing[1] if listing else []  # and try again at the next look
        self._listings[folder] = (changed, names)
        return names


def difference(before: Signs, after: Signs) -> str:
    """Return what has changed, in one line, "" for nothing."""
    appeared = [path for path in after if path not in before]
    gone = [path for path in before if path not in after]
    changed = [path for path, sign in after.items() if before.get(path, sign) != sign]
    parts = [
        f"{_enumerate(paths)} {word}"
        for paths, word in ((appeared, "appeared"), (gone, "disappeared"), (changed, "changed"))
        if paths
    ]
    return "; ".join(parts)


def _enumerate(paths: list[str]) -> str:
    named = ", ".join(paths[:MOST_NAMED])
    more = len(paths) - MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _listed(folder: str) -> list[str]:
    try:
        return driver_root.names(folder)
    except NvidiaRuntimeError:
        return []


def _is_like_the_driver(name: str) -> bool:
    return "nvidia" in name or name.startswith(LIKE_THE_DRIVER)


def _cached(root: str) -> list[str]:
    """List the driver's libraries in the loader's cache, which every installed package changes."""
    paths = ldcache.paths(root or "/")
    return [path for path in paths if _is_like_the_driver(os.path.basename(path))]


def _walk(machine: str, folder: str, depth: int, signs: Signs) -> None:
    """Note the folders below a folder of /proc, without opening their files."""
    try:
        with os.scandir(machine + folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        path = f"{folder}/{name}"
        signs[path] = ()
        if depth > 1:
            _walk(machine, path, depth - 1, signs)


def _note_node(machine: str, path: str, signs: Signs) -> None:
    """Note a device node: its numbers, mode and group; its times change when it is used."""
    try:
        status = os.lstat(machine + path)
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        signs[path] = (status.st_rdev, status.st_mode, status.st_gid)


def _has_changed(path: str, since: int) -> bool:
    """Whether a file has changed since a time, within a tick of the clock."""
    try:
        return os.stat(path).st_ctime_ns > since - TICK
    except OSError:
        return True


def _note_file(machine: str, path: str, signs: Signs, with_time: bool = True) -> None:
    try:
        status = os.stat(machine + path)
    except (OSError, ValueError):
        return
    times = (status.st_size, status.st_mtime_ns) if with_time else ()
    signs[path] = (status.st_dev, status.st_ino, *times)
