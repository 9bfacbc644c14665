# SPDX-License-Identifier: Apache-2.0
"""One installation at a time, by a locked file with our process id; and whether it is done."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from nvidia_runtime.installer.options import Installation


# Seconds; a probe holds the lock for less.
PATIENCE = 0.5


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock; the file goes with it."""
    where = f"unable to initialize: unable to get flock on pidfile: {path}"
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        descriptor = _hold(path)
    except OSError as error:
        hint = "--pid-file names another place"
        if error.errno == errno.EWOULDBLOCK:
            hint = "another installation runs; end it first"
        raise NvidiaRuntimeError(os_reason(error), where, hint) from None
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        # Before the lock goes: the file is ours as long as we hold it.
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def _hold(path: str) -> int:
    """Return the descriptor of the locked file, which is the one of that name."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            _lock(descriptor)
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # who had it has removed it


def _lock(descriptor: int) -> None:
    """Lock a file, also where a probe looks at it for a moment, as after a kill."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def report(installation: Installation, tree: str) -> None:
    """Say that all is done."""
    document = {"pid": os.getpid(), "is_daemon": installation.is_daemon, "tree": tree}
    try:
        os.makedirs(os.path.dirname(installation.ready), 0o755, exist_ok=True)
        files.replace(installation.ready, json.dumps(document).encode() + b"\n", 0o644, mark="new")
    except OSError as error:
        what = f"cannot be written: {os_reason(error)}"
        raise NvidiaRuntimeError(what, installation.ready, "--ready-file names another") from None


def withdraw(installation: Installation) -> None:
    """Say that it is not, or not any more."""
    with contextlib.suppress(OSError):
        os.unlink(installation.ready)


def check(installation: Installation) -> None:
    """Raise `NvidiaRuntimeError` unless an installation is done, and its process still there."""
    try:
        with open(installation.ready, encoding="utf-8") as file:
            document = json.load(file)
        is_daemon, tree = document["is_daemon"], str(document["tree"])
    except (OSError, ValueError, KeyError, TypeError):
        raise NvidiaRuntimeError("the toolkit is not ready", installation.ready) from None
    if is_daemon and not _is_held(installation.pid_file):
        raise NvidiaRuntimeError("the toolkit is not ready: its process has ended")
    if not os.path.exists(tree):
        raise NvidiaRuntimeError("the toolkit is not ready: its tree has gone", tree)


def _is_held(path: str) -> bool:
    """Whether somebody has the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
