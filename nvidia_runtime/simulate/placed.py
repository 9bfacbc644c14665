# SPDX-License-Identifier: Apache-2.0
"""Files that a machine has, or lacks, beside what its driver leaves."""

from __future__ import annotations

import posixpath

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import elf
from nvidia_runtime.simulate.machine import PlacedFile, SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, File, Folder, Symlink, Tree

KERNEL = ("/proc/", "/sys/")


def changed(tree: Tree, machine: SimulatedMachine, *, is_kernel: bool) -> Tree:
    """Return the tree of the driver, or of the kernel, with a machine's own files, without others.

    Raises `NvidiaRuntimeError` for a file below what is no folder: a link there would lead out.
    """
    missing = {path: f"{path}/" for path in machine.missing}
    files = {
        path: entry
        for path, entry in tree.items()
        if path not in missing and not path.startswith(tuple(missing.values()))
    }
    own = {
        file.path: _entry(file, machine.architecture)
        for file in machine.files
        if file.path.startswith(KERNEL) == is_kernel
    }
    files |= own
    if own:
        _check_folders(files)
    return files


def _entry(file: PlacedFile, architecture: str) -> File | Symlink | CharacterDevice:
    if file.link:
        return Symlink(file.link)
    if file.major >= 0:
        return CharacterDevice(file.major, file.minor, file.mode, file.gid)
    if file.is_library:
        return File(elf.shared_object(file.soname, architecture), file.mode)
    return File(file.text.encode(errors="replace"), file.mode)


def _check_folders(files: Tree) -> None:
    for path in files:
        parent = posixpath.dirname(path)
        while parent != "/":
            if not isinstance(files.get(parent, Folder()), Folder):
                what = f"the machine has {path} below {parent}, which is not a folder"
                raise NvidiaRuntimeError(what, hint="leave one of them out of its 'files'")
            parent = posixpath.dirname(parent)
