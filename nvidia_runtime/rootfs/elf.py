# SPDX-License-Identifier: Apache-2.0
"""What a shared library says of itself: its soname, its kind in ld.so.cache, a note of CUDA's.

Bounded reads at places that the file names itself; whatever does not fit is "no library".  The
image may have made the file to be read here.
"""

import posix

from nvidia_runtime import start

_struct = start.private("_struct", "struct", "error", "unpack_from")
error, unpack_from = _struct.error, _struct.unpack_from
# e_machine and class -> the flags of an entry in ld.so.cache (glibc, sysdeps/generic/ldconfig.h):
# x86-64, x32, i386, AArch64, arm hard-float, ppc64le.
I386 = 0x0003
KINDS = {
    (62, 2): 0x0303,
    (62, 1): 0x0803,
    (3, 1): I386,
    (183, 2): 0x0A03,
    (40, 1): 0x0903,
    (21, 2): 0x0503,
}
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_STRTAB, DT_SONAME = 0, 5, 14
SHT_NOTE = 7
MOST_SEGMENTS, MOST_SECTIONS = 256, 1024
# Real ones have less than a kilobyte, and each entry is looked at.
MOST_DYNAMIC = 8 << 10
MOST_NAMES = 64 << 10
MOST_NOTE = 64 << 10
LONGEST_SONAME = 255


class Library:
    """A shared library: ``soname`` is "" where it has none, ``flags`` are ld.so.cache's."""

    __slots__ = ("flags", "soname")

    def __init__(self, soname: bytes, flags: int) -> None:
        self.soname = soname
        self.flags = flags


def identify(descriptor: int) -> Library | None:
    """Read what a file is; ``None`` unless it is a library for a machine of NVIDIA's driver."""
    try:
        head = posix.pread(descriptor, 4096, 0)
        if head[:4] != b"\x7fELF" or head[5:7] != b"\x01\x01" or head[4] not in (1, 2):
            return None
        kind, machine = unpack_from("<HH", head, 16)
        flags = KINDS.get((machine, head[4]))
        if kind != 3 or flags is None:  # ET_DYN
            return None
        segments = _segments(descriptor, head)
        for segment in segments:
            if segment[0] == PT_DYNAMIC:
                return Library(_soname(descriptor, head[4] == 2, segment, segments), flags)
    except (OSError, error, OverflowError):
        pass
    return None


def interpreter(descriptor: int) -> bytes:
    """Return the loader that a program names, b"" for a static one and for what is not a program.

    Of one of little endian: the driver knows no other.
    """
    try:
        head = posix.pread(descriptor, 4096, 0)
        if head[:4] != b"\x7fELF" or head[5:7] != b"\x01\x01" or head[4] not in (1, 2):
            return b""
        for kind, offset, _, size in _segments(descriptor, head):
            if kind == PT_INTERP:
                return posix.pread(descriptor, min(size, LONGEST_SONAME), offset).rstrip(b"\0")
    except (OSError, error, OverflowError):
        pass
    return b""


def _segments(descriptor: int, head: bytes) -> list[tuple[int, int, int, int]]:
    """Return type, offset, address and size in the file of each segment."""
    if head[4] == 2:
        (start,) = unpack_from("<Q", head, 32)
        size, count = unpack_from("<HH", head, 54)
        form, length = "<I4xQQ8xQ", 56
    else:
        (start,) = unpack_from("<I", head, 28)
        size, count = unpack_from("<HH", head, 42)
        form, length = "<III4xI", 32
    if size != length or count > MOST_SEGMENTS:
        return []
    end = start + size * count
    table, at = (
        (head, start) if end <= len(head) else (posix.pread(descriptor, end - start, start), 0)
    )
    return [unpack_from(form, table, at + length * number) for number in range(count)]


def _soname(
    descriptor: int,
    is_64: bool,
    dynamic: tuple[int, int, int, int],
    segments: list[tuple[int, int, int, int]],
) -> bytes:
    """Return DT_SONAME; of several the last counts, as for ldconfig."""
    _, offset, _, size = dynamic
    table = posix.pread(descriptor, min(size, MOST_DYNAMIC), offset)
    form, length = ("<qQ", 16) if is_64 else ("<iI", 8)
    strings = name = -1
    for at in range(0, len(table) - length + 1, length):
        tag, value = unpack_from(form, table, at)
        if tag == DT_NULL:
            break
        if tag == DT_STRTAB:
            strings = value
        elif tag == DT_SONAME:
            name = value
    if strings < 0 or name < 0:
        return b""
    for kind, place, address, length in segments:
        if kind == PT_LOAD and address <= strings < address + length:
            text = posix.pread(descriptor, LONGEST_SONAME + 1, place + strings - address + name)
            end = text.find(b"\0")
            return text[:end] if end > 0 else b""
    return b""


def note(descriptor: int, section: bytes, owner: bytes) -> bytes:
    """Return the description of the note in a section, b"" without one of this owner's."""
    try:
        return _note(descriptor, section, owner)
    except (OSError, error, OverflowError):
        return b""


def _note(descriptor: int, section: bytes, owner: bytes) -> bytes:
    head = posix.pread(descriptor, 64, 0)
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        return b""
    (start,) = unpack_from("<Q", head, 40)
    size, count, index = unpack_from("<HHH", head, 58)
    if size != 64 or count > MOST_SECTIONS or index >= count:
        return b""
    table = posix.pread(descriptor, size * count, start)
    offset, length = unpack_from("<QQ", table, index * 64 + 24)
    names = posix.pread(descriptor, min(length, MOST_NAMES), offset)
    for number in range(count):
        name, kind = unpack_from("<II", table, number * 64)
        if kind == SHT_NOTE and names[name : names.find(b"\0", name)] == section:
            offset, length = unpack_from("<QQ", table, number * 64 + 24)
            data = posix.pread(descriptor, min(length, MOST_NOTE), offset)
            return _described(data, owner)
    return b""


def _described(data: bytes, owner: bytes) -> bytes:
    """Return the description in a note: name and description are padded to four bytes."""
    name, length, _ = unpack_from("<III", data)
    if data[12 : 12 + name].rstrip(b"\0") != owner:
        return b""
    start = 12 + (name + 3 & ~3)
    return data[start : start + length].rstrip(b"\0")
