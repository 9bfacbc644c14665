# SPDX-License-Identifier: Apache-2.0
"""What a path is, as a value: a file with its bytes, a link, a device node, a folder of such.

It is kept before something is mended, and put back where nobody has changed it since.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from contextlib import suppress
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

Keepsake = dict[str, Any]

ABSENT: Keepsake = {"kind": "absent"}
MOST_BYTES = 4 << 20
MOST_ENTRIES = 4096


def of(path: str, *, is_below: bool = False) -> Keepsake:
    """Return what a path is; of a folder also what is in it, but not in folders there.

    Raises `NvidiaRuntimeError` for what is too large or cannot be read.
    """
    try:
        status = os.lstat(path)
        owner = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
        if stat.S_ISLNK(status.st_mode):
            return {"kind": "link", "target": os.readlink(path)}
        if stat.S_ISREG(status.st_mode):
            return {"kind": "file", **owner, "content": _content(path, status.st_size)}
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            kind = stat.S_IFMT(status.st_mode)
            return {"kind": "node", **owner, "type": kind, "number": status.st_rdev}
        if stat.S_ISDIR(status.st_mode):
            names = [] if is_below else sorted(os.listdir(path))
            if len(names) > MOST_ENTRIES:
                raise NvidiaRuntimeError(f"has more than {MOST_ENTRIES} entries", path)
            entries = {name: of(f"{path}/{name}", is_below=True) for name in names}
            return {"kind": "folder", **owner, "entries": entries}
    except (FileNotFoundError, NotADirectoryError):
        return dict(ABSENT)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be kept: {os_reason(error)}", path) from None
    return {"kind": "other", **owner}


def _content(path: str, size: int) -> str:
    if size > MOST_BYTES:
        raise NvidiaRuntimeError(f"has more than {MOST_BYTES >> 20} MiB", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:  # it has grown meanwhile
        raise NvidiaRuntimeError(f"has more than {MOST_BYTES >> 20} MiB", path)
    return base64.b64encode(data).decode()


def put_back(path: str, before: Keepsake, after: Keepsake) -> list[str]:
    """Make a path what it was before, if it is what it was after; name what is not.

    Raises `NvidiaRuntimeError` where the machine refuses.
    """
    if before == after:
        return []
    is_same = of(path, is_below=True) == _shallow(after)
    changed: list[str] = []
    if after["kind"] == "folder":
        # Each by itself: what others have put there, or have changed since, stays.
        olds, news = before.get("entries", {}), after["entries"]
        for name in sorted(olds.keys() | news.keys()):
            old, new = olds.get(name, ABSENT), news.get(name, ABSENT)
            changed += put_back(f"{path}/{name}", old, new)
    if not is_same:
        return [*changed, path]
    try:
        if before["kind"] == after["kind"] == "folder":
            _own(path, before)
        else:
            _take_away(path, after)
            _make(path, before)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            return changed or [path]
        raise NvidiaRuntimeError(f"cannot be put back: {os_reason(error)}", path) from None
    return changed


def _shallow(kept: Keepsake) -> Keepsake:
    return {**kept, "entries": {}} if kept["kind"] == "folder" else kept


def _take_away(path: str, kept: Keepsake) -> None:
    if kept["kind"] == "folder":
        os.rmdir(path)
    elif kept["kind"] not in ("absent", "file"):
        os.unlink(path)


def _make(path: str, kept: Keepsake) -> None:
    kind = kept["kind"]
    if kind == "absent":
        with suppress(FileNotFoundError):
            os.unlink(path)
    elif kind == "link":
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(kept["target"], path)
    elif kind == "file":
        content = base64.b64decode(kept["content"])
        files.replace(path, content, kept["mode"], sync=True)
        _own(path, kept)
    elif kind in ("node", "folder"):
        with suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0)  # no chmod later, which would follow a link
        try:
            if kind == "node":
                os.mknod(path, kept["type"] | kept["mode"], kept["number"])
            else:
                os.mkdir(path, kept["mode"])
        finally:
            os.umask(before)
        _own(path, kept)
        for name, entry in kept.get("entries", {}).items():
            _make(f"{path}/{name}", entry)


def _own(path: str, kept: Keepsake) -> None:
    """Hand a path to its owner, where we may, and give a folder its mode."""
    with suppress(PermissionError):
        os.lchown(path, kept["uid"], kept["gid"])
    if kept["kind"] == "folder":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with suppress(PermissionError):
            os.fchmod(descriptor, kept["mode"])
        os.close(descriptor)
