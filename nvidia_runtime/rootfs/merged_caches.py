# SPDX-License-Identifier: Apache-2.0
"""Merged caches, remembered by what they were made from: images are started more than once.

A file a result, in our state folder, named by SHA-256: an image must not be able to choose what
another one gets.
"""

import posix
import sys

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files, resolver

FOLDER = "merged-caches"
MOST = 64


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
            descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW)
        except OSError:
            return None
        try:
            size = posix.fstat(descriptor).st_size
            data = posix.read(descriptor, size) if size else b""
            return data if len(data) == size else None
        finally:
            posix.close(descriptor)

    def write(self, result: bytes) -> None:
        """Remember a result, and forget old ones; a failure costs only time."""
        if not self._state:
            return
        try:
            with (
                resolver.open_root(self._state) as state,
                resolver.walk(state, FOLDER, make=True, mode=0o700) as folder,
            ):
                names = folder.names()
                for name in names if len(names) >= MOST else ():
                    posix.unlink(name, dir_fd=folder.descriptor)
                files.replace(folder, self._name, result, 0o600)
        except (OSError, NvidiaRuntimeError):
            return


def _digest(data: bytes) -> str:
    """Return a SHA-256 by CPython's own module, without hashlib, which is 2 ms."""
    module = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
    try:
        digest: str = __import__(module).sha256(data).hexdigest()
    except Exception:  # noqa: BLE001 (CPython's own affair)
        from hashlib import sha256

        return sha256(data).hexdigest()
    return digest
