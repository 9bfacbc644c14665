# SPDX-License-Identifier: Apache-2.0
"""The root of a simulated machine: the host's, with files over it, and folders that stay real."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from nvidia_runtime.linux import mount
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.tree import Folder, Tree

KERNEL = ("/proc", "/sys", "/dev")
OPAQUE = "trusted.overlay.opaque"  # Documentation/filesystems/overlayfs.rst


class Doors:
    """Folders of the host, held open, so that they can be reached after something covers them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._open: dict[str, int] = {}
        for path in paths:
            with suppress(OSError):  # a mount point that is covered, or gone
                self._open[path] = os.open(path, os.O_PATH)

    def bind(self, path: str, target: str) -> None:
        """Show a folder in a second place; one that could not be opened is left out."""
        if path in self._open:
            mount.bind(f"/proc/self/fd/{self._open[path]}", target)


def mount_points() -> list[str]:
    """List the mount points, parents first, without those in the kernel's folders."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = {_unescaped(line.split(" ")[4]) for line in file}
    return sorted(path for path in points if not is_in(path, KERNEL))


def is_in(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of some folders, or in one."""
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def resolved(files: Tree) -> Tree:
    """Return the files where they are on this host, on which /lib may be a link."""
    places: Tree = {}
    folders: dict[str, str] = {}
    for path, entry in files.items():
        parent, _, name = path.rpartition("/")
        if parent not in folders:
            folders[parent] = os.path.realpath(parent or "/").rstrip("/")
        places[f"{folders[parent]}/{name}"] = entry
    return places


def make(files: Tree, empty: Iterable[str], points: list[str], stage: str) -> list[str]:
    """Mount the root at ``stage``/root, and return the mount points of the host that it covers.

    It is an overlay, with another one for each file system that holds some of the files.  Folders
    in ``empty`` show nothing of the host.
    """
    emptied = resolved({path: Folder() for path in empty})
    everything = emptied | files
    visible = filter(os.path.exists, points)  # without those that another mount covers
    layers = [point for point in visible if any(is_in(path, [point]) for path in everything)]
    for number, layer in enumerate(layers):
        upper, work = f"{stage}/{number}/upper", f"{stage}/{number}/work"
        os.makedirs(upper)
        os.mkdir(work)
        os.chmod(upper, stat.S_IMODE(os.stat(layer).st_mode))
        own = _of_layer(everything, layer, layers)
        trees.write(own, upper, like=layer.rstrip("/"))
        for path in own:
            if layer.rstrip("/") + path in emptied:
                os.setxattr(upper + path, OPAQUE, b"y")
        shown = layer
        if layer in emptied:  # the root of a layer cannot be opaque
            shown = f"{stage}/{number}/lower"
            os.mkdir(shown)
        lower = shown.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
        target = f"{stage}/root{layer}".rstrip("/")
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount.mount("overlay", target, options)
    return layers


def _of_layer(files: Tree, layer: str, layers: list[str]) -> Tree:
    """Return the files of a file system, by their paths in it."""
    start = len(layer.rstrip("/"))
    own: Tree = {"/": Folder()}
    for path, entry in files.items():
        if max((point for point in layers if is_in(path, [point])), key=len) == layer != path:
            own[path[start:]] = entry
    return own


def settle(files: Tree) -> None:
    """List the folders of the overlay once, which changes their times."""
    folders: set[str] = set()
    for path in files:
        while (path := os.path.dirname(path)) not in folders:
            folders.add(path)
    for folder in folders:
        with suppress(FileNotFoundError):
            os.listdir(folder)


def bind_rest(paths: Iterable[str], doors: Doors, root: str) -> None:
    """Show folders and mounts of the host in the new root, with everything in them."""
    shown: list[str] = []
    for path in sorted(paths):
        if not is_in(path, shown):
            with suppress(FileNotFoundError):  # in a file system that is not shown
                doors.bind(path, root + path)
            shown.append(path)


def _unescaped(path: str) -> str:
    """Read a path as /proc/self/mountinfo writes it, see proc(5)."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
