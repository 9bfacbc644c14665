# SPDX-License-Identifier: Apache-2.0
"""Files that are made once and kept: a folder of the user's own.

A folder or file that belongs to another user, or that others may write to, is not trusted: a
library in it would be loaded by root.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

NAME = "nvidia-container-runtime"
MOST_FILES = 32


def folder() -> str:
    """Return the folder: below $XDG_CACHE_HOME, or below the user's home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(_home(), ".cache")
    return os.path.join(base, NAME)


def read(name: str) -> bytes:
    """Read a file; one that is missing, or not trusted, is empty."""
    with suppress(OSError):
        if _is_own(os.lstat(folder())):
            descriptor = os.open(os.path.join(folder(), name), os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                if _is_own(os.fstat(descriptor)):
                    with suppress(OSError):
                        os.utime(descriptor)  # what is used stays, however old
                    return file.read()
    return b""


@contextmanager
def new(name: str) -> Iterator[str]:
    """Return the path at which to make a file, which then appears under its name in one step."""
    target = os.path.join(folder(), name)
    path = f"{target}.{os.getpid()}"
    try:
        os.makedirs(folder(), mode=0o700, exist_ok=True)
        if not _is_own(os.lstat(folder())):
            hint = f"give it to user {os.geteuid()} with mode 0700, or set XDG_CACHE_HOME"
            raise NvidiaRuntimeError("belongs to others, or they may write to it", folder(), hint)
        try:
            yield path
            os.chmod(path, 0o600)
            os.rename(path, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        hint = "XDG_CACHE_HOME names another place"
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", target, hint) from None
    with suppress(OSError):  # another process may do the same
        _prune()


def _prune() -> None:
    """Remove the files longest unused where there are too many, of earlier versions say."""
    with os.scandir(folder()) as entries:
        files = sorted((entry.stat().st_mtime, entry.path) for entry in entries if entry.is_file())
    for _, path in files[:-MOST_FILES]:
        os.unlink(path)


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o022


def _home() -> str:
    """Return the user's home; after sudo, HOME may be another user's."""
    home = os.environ.get("HOME", "")
    with suppress(OSError):
        if home.startswith("/") and _is_own(os.stat(home)):
            return home
    return pwd.getpwuid(os.geteuid()).pw_dir
