# SPDX-License-Identifier: Apache-2.0
"""Engines' files, read whole and replaced in one step: all files of a change, or none.

Mode, owner and extended attributes (ACLs, the SELinux label) are kept, and so is a byte order mark,
over which engines read.  Of a link, the target is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST = 32 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A temporary file has a name that begins with a dot and does not end like a configuration, so that
# no engine takes it for a drop-in.  The name is always the same, so that the next run replaces what
# a killed one left; a lock keeps two runs apart.
MARK = "nvidia-ctk"
PATIENCE = 30.0  # seconds; a run takes one or two, most of it for the engine to judge
HINTS = {
    errno.EACCES: "run it as root, or name a file of your own",
    errno.EPERM: "run it as root; lsattr shows whether the file is immutable",
    errno.EROFS: "the file system is read-only: configure the engine in the system's image",
    errno.ENOSPC: "make room and repeat it; nothing has been changed",
    errno.EDQUOT: "make room and repeat it; nothing has been changed",
    errno.EBUSY: "the file is a mount point: mount its folder instead",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A file with its text before and after; None is a missing file."""

    path: str
    before: str | None
    after: str | None

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return self.before != self.after


def read(path: str) -> str | None:
    """Return the text of a file, line ends included; None where the file is missing."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for ever
            raise NvidiaRuntimeError("is not a regular file", path, "name a file by --config")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed("cannot be read", path, error) from None
    except ValueError as error:  # a NUL in the path
        raise NvidiaRuntimeError(os_reason(error), repr(path)) from None
    if len(data) > LARGEST:
        raise NvidiaRuntimeError("is larger than 32 MiB", path)
    try:
        return data.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise NvidiaRuntimeError("is not UTF-8", f"{path}:{line}:{column}") from None


def carry_out(changes: list[Change], objection: Callable[[], str], hint: str = "") -> None:
    """Write files, then have them judged; on any error all become what they were before.

    ``hint`` is for a file that cannot be put back.
    """
    done: list[Change] = []
    folders: list[str] = []
    try:
        for change in changes:
            if read(change.path) != change.before:
                what = "was changed by another process at this moment; nothing was written"
                raise NvidiaRuntimeError(what, change.path, "repeat it")
            folders += _make_folders(change.path)
            _replace(change.path, change.after)
            done.append(change)
        if reason := objection():
            raise NvidiaRuntimeError(
                f"the engine objects to the new configuration; the old one is back: {reason}",
                ", ".join(change.path for change in changes),
            )
    except BaseException as error:  # a Ctrl-C too: half of a change is worse than none
        _take_back(done, error, hint)
        for folder in reversed(folders):
            remove_folder(folder)
        raise


def _take_back(changes: list[Change], error: BaseException, hint: str) -> None:
    for change in reversed(changes):
        try:
            if read(change.path) != change.before:
                _replace(change.path, change.before)
        except NvidiaRuntimeError as another:
            what = f"{error}; and the old file could not be put back: {another}"
            raise NvidiaRuntimeError(what, hint=hint) from error


def discard(path: str) -> None:
    """Remove what a killed run left beside a file, by whose real path."""
    with contextlib.suppress(OSError):
        os.unlink(files.temporary_name(path, MARK))


def remove_folder(path: str) -> None:
    """Remove a folder if it is empty."""
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _replace(path: str, text: str | None) -> None:
    """Replace the text of a file, or remove it."""
    try:
        target = _target(path)
        if text is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            files.sync_folder(os.path.dirname(target))
        else:
            _put(target, text.encode())
    except OSError as error:
        raise _failed("cannot be written", path, error) from None
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", repr(path)) from None


def _target(path: str) -> str:
    """Return the path without links; the file need not exist."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise NvidiaRuntimeError(f"cannot be written: {error}", repr(path)) from None


def _put(target: str, data: bytes) -> None:
    """Write a temporary file and rename it, so that a crash leaves the old file or the new one."""

    def keep(descriptor: int) -> None:
        _keep_attributes(target, descriptor)

    files.replace(target, _byte_order_mark(target) + data, sync=True, finish=keep, mark=MARK)


def _byte_order_mark(target: str) -> bytes:
    """Return the mark that the old file begins with, nothing where it has none."""
    try:
        with open(target, "rb") as file:
            start = file.read(len(BYTE_ORDER_MARK))
    except FileNotFoundError:
        return b""
    return start if start == BYTE_ORDER_MARK else b""


def _keep_attributes(target: str, descriptor: int) -> None:
    """Copy the attributes of the old file; without an old one, all may read the new one."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    for name in _attributes(target):
        # Those that may not be written, the file system has set itself.
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, name, os.getxattr(target, name))
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _attributes(target: str) -> list[str]:
    try:
        return os.listxattr(target)
    except OSError:
        return []


def missing_folders(path: str) -> list[str]:
    """List the folders that are to be made for a file, the outermost first."""
    folder = os.path.dirname(_target(path))
    missing: list[str] = []
    while folder and not os.path.lexists(folder):
        missing.insert(0, folder)
        folder = os.path.dirname(folder)
    return missing


def _make_folders(path: str) -> list[str]:
    """Make the folders for a file; return those that are new."""
    new: list[str] = []
    for folder in missing_folders(path):
        try:
            os.mkdir(folder, 0o755)
            os.chmod(folder, 0o755)  # whatever the umask
        except OSError as error:
            for other in reversed(new):
                remove_folder(other)
            raise _failed("cannot be made", folder, error) from None
        new.append(folder)
    return new


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock against a second run, in the state folder, or else beside the configuration."""
    descriptor = _lock_file(path)
    try:
        end = time.monotonic() + PATIENCE
        while not _has_lock(descriptor):
            if time.monotonic() > end:
                what = "another nvidia-ctk is changing this engine's configuration"
                raise NvidiaRuntimeError(what, path, "wait for it, or end it, and repeat this")
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _lock_file(path: str) -> int:
    state = files.state_folder(make=True)
    if state:
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(f"{state}/engines.lock", flags, 0o600)
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _failed("cannot be locked", folder, error) from None


def _has_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):  # no locks here, as on some NFS
            return True
        raise
    return True


def _failed(what: str, path: str, error: OSError) -> NvidiaRuntimeError:
    return NvidiaRuntimeError(f"{what}: {os_reason(error)}", path, HINTS.get(error.errno or 0, ""))
