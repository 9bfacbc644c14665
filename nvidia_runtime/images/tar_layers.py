# SPDX-License-Identifier: Apache-2.0
"""A layer of an image that is a tar file, compressed or not: read once, by its names.

Its author may have written anything: sums and sizes are limited, and no member leads to another.
"""

from __future__ import annotations

import os
import posix
import re
import tarfile
import tempfile
import zlib
from typing import IO, Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.images.layers import FILE, FOLDER, LINK, OPAQUE, OTHER, WHITEOUT, Entry, Parts

# A distribution has 10,000 files, an image with all of CUDA and a framework some 200,000.
MOST_ENTRIES = 1_000_000
MOST_BYTES = 32 << 30
# An extended header has a file's long names.
LARGEST_HEADER = 1 << 20
LONGEST, DEEPEST = 4096, 128
# Of all names and targets of links together: 200,000 files have 20 MB.
MOST_NAMED = 256 << 20
MOST_GLOBALS = 1000
# Python had a search in such headers that is quadratic in digits (CVE-2024-6232).
DIGITS = re.compile(rb"[0-9]{129}")
# Of what may be looked into: beginnings of programs, CUDA's compatibility libraries whole, and what
# an image with docker tells that.
HEAD, MOST_HEADS = 4096, 8192
LARGEST_LIBRARY, MOST_LIBRARIES = 256 << 20, 4
DAEMON_JSON, LARGEST_SETTINGS = ("etc", "docker", "daemon.json"), 64 << 10
HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
# What reading a damaged tar file raises.
DAMAGES = (
    *(tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError, LookupError),
    *(ArithmeticError, TypeError, AttributeError),
)


class Budget:
    """How much the layers of one image may still hold, all together."""

    def __init__(self) -> None:
        self.entries = MOST_ENTRIES
        self.bytes = MOST_BYTES
        self.named = MOST_NAMED
        self.heads = MOST_HEADS
        self.libraries = MOST_LIBRARIES

    def take(self, size: int, named: int = 0) -> None:
        """Count an entry; raises `NvidiaRuntimeError` for one too many."""
        self.entries -= 1
        self.named -= named
        if self.named < 0:
            raise NvidiaRuntimeError(f"has more than {MOST_NAMED >> 20} MiB of names")
        self.bytes -= max(size, 0)
        if self.entries < 0:
            raise NvidiaRuntimeError(f"has more than {MOST_ENTRIES} files")
        if self.bytes < 0:
            raise NvidiaRuntimeError(f"has more than {MOST_BYTES >> 30} GiB of files")


class Member(tarfile.TarInfo):
    """A member whose headers are not read into memory whatever their size.

    Files with holes are refused: their tables are read whole, and no engine writes any.
    """

    def _proc_member(self, file: tarfile.TarFile) -> Any:  # the way in for subclasses
        if self.type in HEADERS and not 0 <= self.size <= LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file with holes")
        return super()._proc_member(file)  # type: ignore[misc]

    def _proc_pax(self, file: Any) -> Any:
        stream = file.fileobj
        data = stream.read(self._block(self.size))  # type: ignore[attr-defined]
        _check_records(data[: self.size])
        file.fileobj = _Repeated(file, stream, data)
        member = super()._proc_pax(file)  # type: ignore[misc]
        if len(file.pax_headers) > MOST_GLOBALS:
            raise tarfile.ReadError(f"more than {MOST_GLOBALS} global headers")
        if member.size < 0:
            raise tarfile.ReadError(f"a file of {member.size} bytes")
        return member

    def _proc_gnusparse_00(self, *_: Any) -> None:
        raise tarfile.ReadError("a file with holes")

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


class _Repeated:
    """A stream from which a header is read once more; after it comes the stream itself."""

    def __init__(self, file: Any, stream: Any, data: bytes) -> None:
        self._file, self._stream, self._data = file, stream, data

    def read(self, _size: int) -> bytes:
        self._file.fileobj = self._stream
        return self._data


def _check_records(data: bytes) -> None:
    """Raise `tarfile.ReadError` for what is not "LENGTH KEY=VALUE" in each line: see pax(1).

    Python has read overlapping ones, again and again.
    """
    position = 0
    if DIGITS.search(data):
        raise tarfile.ReadError("a header of digits")
    while position < len(data) and data[position]:
        digits = data[position : position + 8].partition(b" ")[0]
        end = position + (int(digits) if digits.isdigit() else 0)
        is_whole = position + len(digits) + 2 < end <= len(data) and data[end - 1 : end] == b"\n"
        if not is_whole or data.find(b"=", position, end) < 0:
            raise tarfile.ReadError("a damaged header")
        position = end


class TarLayer:
    """The names of a tar file, read once from its beginning to its end, and parts of some files."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        """Read it all; raises `NvidiaRuntimeError` for what is no tar file, or too large."""
        self._folders: dict[Parts, dict[str, Entry]] = {(): {}}
        self._hidden: dict[Parts, set[str]] = {}
        self._opaque: set[Parts] = set()
        self._data: dict[Parts, bytes | int] = {}
        self._budget = budget
        try:
            # A stream is never gone back in: no member can lead to another.
            with tarfile.open(fileobj=stream, mode="r|*", tarinfo=Member, errorlevel=2) as tar:
                while (member := tar.next()) is not None:
                    self._add(tar, member)
                    vars(tar)["members"] = []  # it would keep them all
        except DAMAGES as error:
            raise NvidiaRuntimeError(f"cannot be read as a tar file: {error}") from None

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._budget.take(member.size, len(member.name) + len(member.linkname))
        parts = _parts(member.name)
        if not parts:
            return
        folder, name = parts[:-1], parts[-1]
        if not self._make(folder):
            return
        if name == OPAQUE:
            self._opaque.add(folder)
        elif name.startswith(WHITEOUT):
            self._hidden.setdefault(folder, set()).add(name.removeprefix(WHITEOUT))
        else:
            self._put(parts, self._entry(tar, member, parts))

    def _entry(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parts: Parts) -> Entry:
        self._data.pop(parts, None)
        if member.isdir():
            return Entry(FOLDER)
        if member.issym():
            return Entry(LINK, target=member.linkname[: LONGEST + 1])  # which is too long
        if member.islnk():  # to an earlier member of the same file
            other = _parts(member.linkname)
            if other in self._data:
                self._data[parts] = self._data[other]
            entry = self._folders.get(other[:-1], {}).get(other[-1]) if other else None
            return entry or Entry(OTHER)
        if not member.isreg():
            return Entry(OTHER)
        if most := self._wanted(parts, member.size):
            self._data[parts] = _copy(tar, member, most)
        return Entry(FILE, member.size)

    def _wanted(self, parts: Parts, size: int) -> int:
        """Return how much of a file may be looked into later."""
        if not size:
            return 0
        if parts == DAEMON_JSON:
            return min(size, LARGEST_SETTINGS)
        if "bin" in parts[-2:-1] and self._budget.heads:
            self._budget.heads -= 1
            return HEAD
        is_compat = parts[-2:-1] == ("compat",) and parts[-1].startswith("libcuda.so.")
        if is_compat and size <= LARGEST_LIBRARY and self._budget.libraries:
            self._budget.libraries -= 1
            return size
        return 0

    def _make(self, folder: Parts) -> bool:
        """Make a folder that has no entry of its own; say whether it can be one."""
        if folder in self._folders:
            return True
        if not self._make(folder[:-1]):
            return False
        self._budget.take(0, len(folder[-1]))
        self._put(folder, Entry(FOLDER, is_implied=True))
        return True

    def _put(self, parts: Parts, entry: Entry) -> None:
        self._folders[parts[:-1]][parts[-1]] = entry
        if entry.kind == FOLDER:
            self._folders.setdefault(parts, {})
        else:
            self._folders.pop(parts, None)

    def look(self, parts: Parts) -> tuple[Entry | None, bool]:
        """Return what a path is, and whether layers below do not count for it."""
        hides = False
        for number in range(len(parts)):
            folder, name = parts[:number], parts[number]
            entry = self._folders.get(folder, {}).get(name)
            is_last = number + 1 == len(parts)
            if entry is None:
                return None, hides or name in self._hidden.get(folder, ())
            hides = hides or entry.kind != FOLDER or parts[: number + 1] in self._opaque
            hides = hides or name in self._hidden.get(folder, ())
            if is_last:
                return entry, hides
            if entry.kind != FOLDER:
                return None, True
        return Entry(FOLDER), () in self._opaque

    def names(self, parts: Parts) -> tuple[dict[str, Entry], set[str], bool]:
        """List a folder: entries, names that are hidden below, and whether all of them are."""
        entry, hides = self.look(parts)
        if entry is None or entry.kind != FOLDER:
            return {}, set(), hides
        return self._folders.get(parts, {}), self._hidden.get(parts, set()), hides

    def open(self, parts: Parts) -> int:
        """Open what was kept of a file; raises `OSError`."""
        data = self._data.get(parts)
        if data is None:
            raise FileNotFoundError("/".join(parts))
        if not isinstance(data, bytes):
            return posix.dup(data)
        descriptor = os.memfd_create("head")
        posix.write(descriptor, data)
        return descriptor


def _parts(name: str) -> Parts:
    """Return the components of a member's name, () for one that no engine would unpack."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    is_odd = ".." in parts or len(name) > LONGEST or len(parts) > DEEPEST
    return () if is_odd else parts


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes | int:
    """Return the beginning of a file, the descriptor of a temporary file if it is long."""
    source = tar.extractfile(member)
    if source is None or most <= HEAD:
        return source.read(most) if source else b""
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    while part := source.read(min(most, 1 << 20)):
        most -= posix.write(descriptor, part)
    return descriptor
