# SPDX-License-Identifier: Apache-2.0
"""Merged caches, remembered by what they were made from: images are started more than once.

A file a result, in our state folder, named by SHA-256: an image must not be able to choose what
another one gets.
"""

import posix
import sys

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files, resolver

FOLDER = "merged-caches"
MOST = 64
# The length of a digest.
SEAL = 16
# An image chooses how large its cache is, up to some megabytes.
MOST_BYTES = 16 << 20


class Memory:
    """The place of one result; without a state folder, or without a cache, nothing is remembered.

    ``rest`` is what else decides, as ``repr`` says it.
    """

    __slots__ = ("_name", "_state")

    def __init__(self, state: str, data: bytes, rest: object) -> None:
        self._state = state if data else ""
        self._name = ""
        if self._state:
            self._name = _digest(repr(rest).encode() + b"\0" + data)

    def read(self) -> bytes | None:
        """Return the result, ``None`` if it is not remembered."""
        if not self._state:
            return None
        try:
            path = f"{self._state}/{FOLDER}/{self._name}"
            descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK)
        except OSError:
            return None
        try:
            status = posix.fstat(descriptor)
            if status.st_mode & 0o170000 != 0o100000:
                return None
            data = posix.read(descriptor, status.st_size)
        finally:
            posix.close(descriptor)
        result, seal = data[:-SEAL], data[-SEAL:]
        # A bit may have turned over.
        return result if document.digest(result).encode() == seal else None

    def write(self, result: bytes) -> None:
        """Remember a result, and forget old ones; a failure costs only time."""
        if not self._state:
            return
        try:
            with (
                resolver.open_root(self._state) as state,
                resolver.walk(state, FOLDER, make=True, mode=0o700) as folder,
            ):
                _forget(folder, len(result))
                files.replace(folder, self._name, result + document.digest(result).encode(), 0o600)
        except (OSError, NvidiaRuntimeError):
            return


def _forget(folder: resolver.Place, size: int) -> None:
    """Remove the oldest results, so that one of ``size`` bytes has room."""
    entries = []
    for name in folder.names():
        status = posix.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        entries.append((status.st_mtime_ns, status.st_size, name))
    entries.sort(reverse=True)
    for number, (_, own, name) in enumerate(entries):
        size += own
        if number >= MOST - 1 or size > MOST_BYTES:
            posix.unlink(name, dir_fd=folder.descriptor)


def _digest(data: bytes) -> str:
    """Return a SHA-256 by CPython's own module, without hashlib, which is 2 ms."""
    module = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
    try:
        digest: str = __import__(module).sha256(data).hexdigest()
    except Exception:  # noqa: BLE001 (CPython's own affair)
        from hashlib import sha256

        return sha256(data).hexdigest()
    return digest
