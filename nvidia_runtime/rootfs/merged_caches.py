# SPDX-License-Identifier: Apache-2.0
"""Merged caches, remembered with what they were made from: images are started more than once.

A file a result, in our state folder.  An image must not be able to choose what another one gets, so
the file has all that decides, to be compared: its name is a short digest, for which one could be
made to fit.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files, resolver

FOLDER = "merged-caches"
MOST = 64
# The length of a digest, and of the number of bytes that decide.
SEAL, NUMBER = 16, 8
# An image chooses how large its cache is, up to some megabytes.
MOST_BYTES = 16 << 20


class Memory:
    """The place of one result; without a state folder, or without a cache, nothing is remembered.

    ``rest`` is what else decides, as ``repr`` says it.
    """

    __slots__ = ("_decides", "_name", "_state")

    def __init__(self, state: str, data: bytes, rest: object) -> None:
        self._state = state if data else ""
        self._name, self._decides = "", b""
        if self._state:
            decides = repr(rest).encode() + b"\0" + data
            self._name = document.digest(decides)
            self._decides = len(decides).to_bytes(NUMBER, "little") + decides

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
        if not data.startswith(self._decides):
            return None
        result, seal = data[len(self._decides) : -SEAL], data[-SEAL:]
        # A bit may have turned over.
        return result if document.digest(result).encode() == seal else None

    def write(self, result: bytes) -> None:
        """Remember a result, and forget old ones; a failure costs only time."""
        if not self._state:
            return
        content = self._decides + result + document.digest(result).encode()
        try:
            with (
                resolver.open_root(self._state) as state,
                resolver.walk(state, FOLDER, make=True, mode=0o700) as folder,
            ):
                _forget(folder, len(content))
                files.replace(folder, self._name, content, 0o600)
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
