# SPDX-License-Identifier: Apache-2.0
"""The CDI registry: which file supplies which device (CDI SPEC.md, "CDI JSON Specification").

Spec files lie in spec dirs, not deeper; a later dir has the higher priority.  A broken file harms
no other; a device that two files of one dir describe belongs to neither.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from typing import Any

from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.rootfs.files import open_hosts
from nvidia_runtime.store.files import stamp

Stamps = list[list[Any]]
Progress = Callable[[int, int], None]
USUAL = 64 << 10  # bytes of a spec file


OTHERS = stat.S_IWGRP | stat.S_IWOTH


class SpecFile:
    """A file that holds a valid spec; ``priority`` is the number of its spec dir.

    ``doubts`` say who else than root and ourselves may change it.
    """

    __slots__ = ("doubts", "path", "priority", "sha256", "spec")

    def __init__(self, path: str, priority: int, spec: dict[str, Any], sha256: str) -> None:
        self.doubts = [f"{place} {text}" for place in places(path) for text in doubts(place)]
        self.path = path
        self.priority = priority
        self.spec = spec
        self.sha256 = sha256


class Registry:
    """The devices by qualified name, each with its file; errors; stamps of all that was read.

    ``files`` are those that hold a valid spec, whether their devices are used or not.
    """

    def __init__(self) -> None:
        self.files: list[SpecFile] = []
        self.devices: dict[str, tuple[SpecFile, dict[str, Any]]] = {}
        self.errors: list[NvidiaRuntimeError] = []
        self.stamps: Stamps = []


def places(path: str) -> tuple[str, str]:
    """Return a file, and its folder: who may write there can replace it."""
    return path, os.path.dirname(path) or "."


def doubts(path: str) -> list[str]:
    """Say how other users than root and ourselves can change a file or a folder."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []  # told elsewhere
    said = []
    # In a user namespace root is somebody else: the owner of /.
    if status.st_uid not in (0, os.geteuid(), os.stat("/").st_uid):
        said.append(f"belongs to user {status.st_uid}, who can change what containers get")
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & OTHERS and not is_sticky:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        said.append(f"can be written by others (mode {mode}): chmod go-w")
    return said


def read(spec_dirs: list[str], progress: Progress | None = None) -> Registry:
    """Read every spec file of the spec dirs; ``progress`` gets their number, and that of all."""
    registry = Registry()
    conflicts: dict[str, tuple[int, set[str]]] = {}
    files = [
        (path, priority)
        for priority, folder in enumerate(spec_dirs)
        for path in _files(folder, registry)
    ]
    for number, (path, priority) in enumerate(files):
        if progress:
            progress(number, len(files))
        if file := _read_file(path, priority, registry):
            registry.files.append(file)
            _add(file, registry, conflicts)
    for name, (priority, paths) in conflicts.items():
        holder = registry.devices.get(name)
        if holder and holder[0].priority == priority:
            del registry.devices[name]
            what = f"device {name} is described by two files of one spec dir, so by none"
            registry.errors.append(NvidiaRuntimeError(what, " and ".join(sorted(paths))))
    return registry


def _add(file: SpecFile, registry: Registry, conflicts: dict[str, tuple[int, set[str]]]) -> None:
    """Enter a file's devices; the later dir wins, two files of one dir are a conflict."""
    for device in file.spec["devices"]:
        name = f"{file.spec['kind']}={device['name']}"
        holder = registry.devices.get(name)
        if holder and holder[0].priority == file.priority and holder[0].path != file.path:
            paths = conflicts.setdefault(name, (file.priority, set()))[1]
            paths.update((holder[0].path, file.path))
        elif name not in conflicts or conflicts[name][0] < file.priority:
            conflicts.pop(name, None)
        registry.devices[name] = (file, device)


def _files(folder: str, registry: Registry) -> list[str]:
    """List the spec files of a dir; a spec dir may also be one spec file."""
    registry.stamps.append(_stamp(folder))
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return [folder] if _is_spec(folder) else []
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        registry.errors.append(NvidiaRuntimeError(f"cannot read the spec dir: {reason}", folder))
        return []
    paths = [os.path.join(folder, name) for name in names if _is_spec(name)]
    return [path for path in paths if not os.path.isdir(path)]


def _is_spec(name: str) -> bool:
    return name.endswith((".json", ".yaml"))


def _read_file(path: str, priority: int, registry: Registry) -> SpecFile | None:
    registry.stamps.append(_stamp(path))
    try:
        data = contents(path)
        spec = cdi_spec.parse(data, path)
    except NvidiaRuntimeError as error:
        registry.errors.append(error)
        return None
    return SpecFile(path, priority, spec, hashlib.sha256(data).hexdigest())


def contents(path: str) -> bytes:
    """Read a regular file; nothing else is opened.  Raises `NvidiaRuntimeError`."""
    try:
        descriptor = open_hosts(path)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            # A buffer of the limit's size would cost more than all else.
            data = file.read(min(max(status.st_size, USUAL), cdi_spec.LARGEST) + 1)
            if len(data) > status.st_size:  # it grows, or its file system tells no size
                data += file.read(cdi_spec.LARGEST + 1 - len(data))
            return data
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", path) from None


def _stamp(path: str) -> list[Any]:
    return [path, *(stamp(path) or ())]
