# SPDX-License-Identifier: Apache-2.0
"""Paths below the driver root: where they are on this host, what is there, where links lead."""

from __future__ import annotations

import errno
import os
import time

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy

# As many as the kernel follows, path_resolution(7).
MOST_LINKS = 40


def join(root: str, path: str) -> str:
    """Return the host's path of ``path`` as a program sees it whose ``/`` is the root."""
    return root.rstrip("/") + path


def strip(path: str, root: str) -> str:
    """Return a host's path without the root; one that is not below the root stays as it is."""
    root = root.rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def resolve(path: str, root: str) -> str:
    """Follow all links of a host's path as a program does whose ``/`` is the root.

    An absolute link of a driver in a folder of its own means a file in that folder, not the
    host's.  Raises `OSError` for a missing file or a loop.
    """
    root = root.rstrip("/") if path.startswith(f"{root.rstrip('/')}/") else ""
    pending = path[len(root) :].split("/")[::-1]
    resolved = ""
    links = 0
    while pending:
        name = pending.pop()
        if name == "..":
            resolved = resolved.rpartition("/")[0]
        if name in ("", ".", ".."):
            continue
        target = _read_link(f"{root}{resolved}/{name}")
        if target is None:
            resolved = f"{resolved}/{name}"
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target[:1] == "/":
            resolved = ""
        pending += target.split("/")[::-1]
    return root + (resolved or "/")


def source(path: str, root: str) -> str:
    """Return a path of the host that leads where a path leads below the root, "" if nowhere.

    It is the path itself but where a link below the root means another file to the host.  Raises
    `NvidiaRuntimeError` for what cannot be looked at, unless this user may not.
    """
    if not root.rstrip("/") or strip(path, root) == path:
        return path if os.path.exists(path) else ""
    try:
        inside = resolve(path, root)
    except ValueError:  # a NUL
        return ""
    except OSError as error:
        if is_missing(error) or isinstance(error, PermissionError):
            return ""
        raise unreadable(path, error) from None
    return path if os.path.realpath(path) == os.path.realpath(inside) else inside


def is_file(path: str, root: str) -> bool:
    """Whether a path leads, below the root, to a file of any type but a folder."""
    there = source(path, root)
    return bool(there) and not os.path.isdir(there)


def _read_link(path: str) -> str | None:
    """Return a link's target, ``None`` for anything else that exists."""
    try:
        return os.readlink(path)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def names(folder: str) -> list[str]:
    """List a folder in the order of names; a missing one is empty.

    Raises `NvidiaRuntimeError` for one that cannot be listed: what is in it would be left out.
    """
    try:
        return sorted(os.listdir(folder))
    except ValueError:  # a NUL
        return []
    except OSError as error:
        if is_missing(error):
            return []
        raise unreadable(folder, error, "listed") from None


def is_young(folder: str, seconds: float) -> bool:
    """Whether a folder has changed in the last seconds, or is gone since it was listed."""
    try:
        return 0 <= time.time() - os.stat(folder).st_mtime < seconds
    except OSError:
        return True


def is_missing(error: OSError) -> bool:
    """Whether an error says that nothing is there, not that it could not be looked at."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def unreadable(path: str, error: OSError, verb: str = "read") -> NvidiaRuntimeError:
    """Return the error for what is there and cannot be looked at."""
    hint = remedy(error)
    if isinstance(error, PermissionError):
        hint = f"let user {os.geteuid()} read it, and the folders above it"
    return NvidiaRuntimeError(f"cannot be {verb}: {os_reason(error)}", where=path, hint=hint)


def is_match(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern in which ``*`` stands for any text (`fnmatch` loads re)."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    if not name.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        start = name.find(part, at)
        if start < 0:
            return False
        at = start + len(part)
    return name.endswith(rest[-1]) and len(name) - len(rest[-1]) >= at


def matches(names: list[str], pattern: str) -> list[str]:
    """Return the names that match a pattern."""
    first, *rest = pattern.split("*")
    if not rest:
        return [pattern] if pattern in names else []
    last = rest[-1]
    near = [name for name in names if name.startswith(first) and name.endswith(last)]
    return [name for name in near if is_match(name, pattern)]
