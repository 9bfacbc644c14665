# SPDX-License-Identifier: Apache-2.0
"""Trees of files: a dictionary from absolute paths to what is there, and its way onto a disk."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

# Seconds since the files were installed, as their folders say: while a driver is being installed,
# what would describe it waits.
AGE = 60


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes = b""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class CharacterDevice:
    """A character device."""

    major: int
    minor: int
    mode: int = 0o666
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; those that only lead to other entries may be left out."""

    mode: int = 0o755


Tree = dict[str, File | Symlink | CharacterDevice | Folder]


def text(content: str, mode: int = 0o644) -> File:
    """Make a file of text."""
    return File(content.encode(), mode)


def below(tree: Tree, *folders: str) -> Tree:
    """Return the part of a tree that is in folders."""
    starts = tuple(f"{folder}/" for folder in folders)
    return {path: entry for path, entry in tree.items() if f"{path}/".startswith(starts)}


def outside(tree: Tree, *folders: str) -> Tree:
    """Return the part of a tree that is not in folders."""
    inside = below(tree, *folders)
    return {path: entry for path, entry in tree.items() if path not in inside}


def create(tree: Tree, folder: str) -> None:
    """Write a tree into a new or empty folder."""
    try:
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            raise NvidiaRuntimeError("is not empty", folder, hint="name a new folder")
        write(tree, os.path.abspath(folder))
    except OSError as error:
        hint = "device nodes need root" if isinstance(error, PermissionError) else ""
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", folder, hint) from None


def write(tree: Tree, folder: str, like: str = "") -> None:
    """Write a tree below a folder.

    Folders that only lead to entries get the mode and owner that they have below ``like``, if they
    exist there.  Raises PermissionError where mknod(2) is not permitted.
    """
    folders: set[str] = set()
    for path, entry in tree.items():
        _make_parents(os.path.dirname(path), folder, like, folders)
        _write(f"{folder}{path}", entry)
    installed_at = time.time() - AGE
    for path in folders:
        os.utime(folder + path, (installed_at, installed_at))


def _make_parents(path: str, folder: str, like: str, folders: set[str]) -> None:
    if path in folders:
        return
    if path != "/":
        _make_parents(os.path.dirname(path), folder, like, folders)
    folders.add(path)
    target = folder + path
    if os.path.isdir(target):
        return
    os.mkdir(target)
    if like and os.path.isdir(like + path):
        status = os.stat(like + path)
        os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, stat.S_IMODE(status.st_mode))
    else:
        os.chmod(target, 0o755)  # whatever the umask


def _write(path: str, entry: File | Symlink | CharacterDevice | Folder) -> None:
    match entry:
        case Symlink():
            os.symlink(entry.target, path)
            return
        case File():
            with open(path, "wb") as file:
                file.write(entry.data)
        case CharacterDevice():
            os.mknod(path, stat.S_IFCHR, os.makedev(entry.major, entry.minor))
            if entry.gid:
                os.chown(path, 0, entry.gid)
        case Folder():
            if not os.path.isdir(path):
                os.mkdir(path)
    os.chmod(path, entry.mode)
