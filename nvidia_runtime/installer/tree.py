# SPDX-License-Identifier: Apache-2.0
"""A tree of ours on the host: copied from a bundle, whole before it has its name.

Its name is made of what is in it, so the same is never written twice.  What engines name is a link
to it, which is turned in one step.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import nvidia_runtime
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy
from nvidia_runtime.installer import relocation, wrappers
from nvidia_runtime.linux import filesystem
from nvidia_runtime.store import files

FILES = ".files"
TEMPORARY = ".toolkit."
NAME = re.compile(r"toolkit-[\w.+]+-[0-9a-f]{12}(?:-\d+)?")
# What is written into a tree later, and may change.
CHANGING = (".config", "__pycache__")
LAUNCHER = "bin/nvidia-container-runtime"
PACKAGE = "lib/python3*/site-packages/nvidia_runtime/runtime.py"
NEEDED = (LAUNCHER, "bin/busybox", "bin/python3")
# The number of the first PID namespace on every Linux.
INITIAL = "pid:[4026531836]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a tree is copied from: its folder, version, the digest of it all, our package in it."""

    folder: Path
    version: str
    digest: str
    site: str

    @property
    def launcher(self) -> str:
        """The text of the launcher."""
        return (self.folder / LAUNCHER).read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a tree is made of: a bundle, the path by which it is named, the low-level runtimes."""

    bundle: Bundle
    link: str
    runtimes: tuple[str, ...]

    def programs(self, path: str) -> dict[str, str]:
        """Return the programs at the top of a tree, by their names."""
        bundle = self.bundle
        site = f"{path}/{bundle.site}"
        return wrappers.texts(path, self.link, site, bundle.launcher, self.runtimes)


def read(source: str) -> Bundle:
    """Read the bundle in a folder, or the one that this program is in."""
    folder = Path(source or [*Path(nvidia_runtime.__file__).parents][:5][-1])
    if not all((folder / name).is_file() for name in NEEDED):
        what = "is no bundle to install from" if source else "this program is not in a bundle"
        hint = "'make bundle' makes one, which --toolkit-source-root names"
        raise NvidiaRuntimeError(what, source, hint)
    if not (packages := sorted(folder.glob(PACKAGE))):
        raise NvidiaRuntimeError("is a bundle without our package", str(folder))
    try:
        listed = listing(folder)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", source) from None
    version = folder / "share/version"
    text = version.read_text().strip() if version.exists() else nvidia_runtime.__version__
    return Bundle(
        folder=folder,
        version=re.sub(r"[^\w.+]", ".", text),
        digest=digest(json.dumps(listed, sort_keys=True)),
        site=str(packages[0].parents[1].relative_to(folder)),
    )


def listing(folder: Path) -> dict[str, list[str]]:
    """List the files of a folder, each with its mode and digest, or a link's target."""
    listed = {}
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in CHANGING)
        links = [name for name in folders if os.path.islink(os.path.join(where, name))]
        for name in sorted((*names, *links)):
            path = os.path.join(where, name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                entry = ["link", os.readlink(path)]
            else:
                with open(path, "rb") as file:
                    entry = [oct(status.st_mode), hashlib.file_digest(file, "sha256").hexdigest()]
            listed[os.path.relpath(path, folder)] = entry
    return {name: entry for name, entry in listed.items() if name != FILES}


def digest(text: str) -> str:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def place(design: Design) -> tuple[str, bool]:
    """Return the path that a tree has, or is to have, and whether it is there and whole."""
    bundle = design.bundle
    identity = digest(bundle.digest + json.dumps(design.programs("")))[:12]
    base = f"{design.link}-{bundle.version}-{identity}"
    number, path = 1, base
    while os.path.lexists(path):
        if is_whole(path):
            return path, True
        number += 1
        path = f"{base}-{number}"
    return path, False


def is_whole(path: str) -> bool:
    """Whether a tree has the files that it was written with."""
    try:
        with open(f"{path}/{FILES}", encoding="utf-8") as file:
            return bool(json.load(file) == listing(Path(path)))
    except (OSError, ValueError):
        return False


def write(design: Design, path: str, config: str) -> None:
    """Write a tree, which has its name when it is whole."""
    temporary = f"{os.path.dirname(path)}/{TEMPORARY}new"
    try:
        discard(temporary)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        shutil.copytree(design.bundle.folder, temporary, symlinks=True)
        _finish(design, Path(temporary), path, config)
        filesystem.sync(temporary)
        os.rename(temporary, path)
        files.sync_folder(os.path.dirname(path))
    except (OSError, shutil.Error) as error:
        discard(temporary)
        raise failed(error, path) from None
    except ValueError as error:  # of a place that no first line has room for
        discard(temporary)
        raise NvidiaRuntimeError(str(error), hint="--toolkit-install-dir names another") from None


def _finish(design: Design, tree: Path, path: str, config: str) -> None:
    """Make a copy of a bundle a tree at its final path."""
    tree.chmod(0o755)
    (tree / "relocate").unlink(missing_ok=True)
    relocation.relocate(tree, path)
    for name, text in design.programs(path).items():
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    file = tree / wrappers.CONFIG
    file.parent.mkdir(parents=True)
    file.write_text(config)
    (tree / FILES).write_text(json.dumps(listing(tree)))


def turn(link: str, path: str) -> None:
    """Have the link name a tree: whoever looks finds the old one or the new one.

    A folder of that name, such as NVIDIA's, takes its place in the same step, and goes.
    """
    temporary = f"{os.path.dirname(link)}/{TEMPORARY}link"
    target = os.path.basename(path)
    try:
        if os.path.islink(link) and os.readlink(link) == target:
            return
        discard(temporary)
        os.symlink(target, temporary)
        if os.path.isdir(link) and not os.path.islink(link):
            _exchange(temporary, link)
        else:
            os.rename(temporary, link)
        files.sync_folder(os.path.dirname(link))
    except OSError as error:
        raise failed(error, link) from None
    discard(temporary)


def _exchange(one: str, other: str) -> None:
    try:
        filesystem.exchange(one, other)
    except OSError:  # the file system cannot, as NFS
        os.rename(other, f"{one}.old")
        os.rename(one, other)
        discard(f"{one}.old")


def discard(path: str) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def sweep(link: str) -> None:
    """Remove what a killed run has left; the lock must be ours."""
    folder = os.path.dirname(link)
    for name in _names(folder):
        if name.startswith(TEMPORARY):
            discard(f"{folder}/{name}")


def all_of(link: str) -> list[str]:
    """List the trees beside the link, the one that it names last."""
    folder = os.path.dirname(link)
    paths = [f"{folder}/{name}" for name in _names(folder) if NAME.fullmatch(name)]
    current = current_of(link)
    return sorted(paths, key=lambda path: path == current)


def current_of(link: str) -> str:
    """Return the tree that the link names, "" for none."""
    try:
        return f"{os.path.dirname(link)}/{os.readlink(link)}"
    except OSError:
        return ""


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def remove_old(link: str, *, is_alone: bool) -> list[str]:
    """Remove the trees that the link does not name and no process is in; return those left.

    ``is_alone`` says that nobody can have begun in them of late, though we may not see all.
    """
    left = []
    for path in all_of(link):
        if path == current_of(link):
            continue
        if is_used(path) or not (is_alone or sees_all()):
            left += [path]
            continue
        gone = f"{os.path.dirname(path)}/{TEMPORARY}old"
        discard(gone)
        os.rename(path, gone)  # not found any more before it is half of a tree
        discard(gone)
    return left


def sees_all() -> bool:
    """Whether we see the processes of the whole machine, as with hostPID."""
    try:
        return os.readlink("/proc/self/ns/pid") == INITIAL
    except OSError:
        return False


def is_used(path: str) -> bool:
    """Whether a process runs a program of a tree."""
    programs = set()
    for name in ("python3", "busybox"):
        try:
            status = os.stat(f"{path}/bin/{name}")
            programs.add((status.st_dev, status.st_ino))
        except OSError:
            continue
    return any(_program(pid) in programs for pid in os.listdir("/proc") if pid.isdecimal())


def _program(pid: str) -> tuple[int, int]:
    try:
        status = os.stat(f"/proc/{pid}/exe")
    except OSError:  # it has ended
        return 0, 0
    return status.st_dev, status.st_ino


def failed(error: OSError | shutil.Error, path: str) -> NvidiaRuntimeError:
    """Return the one sentence for a place that cannot be written."""
    hints = {30: "mount --toolkit-install-dir where it can be written"}
    if isinstance(error, shutil.Error):  # a list of files, each with its reason
        return NvidiaRuntimeError(f"cannot be copied: {error.args[0][0][2]}", path)
    hint = hints.get(error.errno or 0) or remedy(error)
    where = str(error.filename or path)
    return NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", where, hint)
