# SPDX-License-Identifier: Apache-2.0
"""The host's ld.so.cache, read for the libraries that lie outside the usual folders.

Ring: elsewhere.
"""

from __future__ import annotations

import struct

from nvidia_runtime.host import root as driver_root

# glibc, sysdeps/generic/dl-cache.h.
OLD_MAGIC = b"ld.so-1.7.0"
OLD_HEADER = 16
OLD_ENTRY = 12
MAGIC = b"glibc-ld.so.cache1.1"
HEADER = 48
ENTRY = struct.Struct("=iIIIQ")
# The architecture in an entry's flags: x86-64, ppc64, AArch64.
ARCHITECTURES = (0x0300, 0x0500, 0x0A00)


def paths(root: str) -> list[str]:
    """List the 64-bit libraries in the cache below the root, as paths below the root.

    A cache that is missing or malformed has none: it is the last place to look.
    """
    try:
        with open(driver_root.join(root, "/etc/ld.so.cache"), "rb") as file:
            return list(dict.fromkeys(parse(file.read())))
    except (OSError, ValueError, struct.error):
        return []


def parse(data: bytes) -> list[str]:
    """Give the paths in a cache; raises `ValueError` or `struct.error` if it is malformed."""
    start = _header(data)
    (count,) = struct.unpack_from("=I", data, start + len(MAGIC))
    entries = data[start + HEADER : start + HEADER + count * ENTRY.size]
    return [
        _text(data, start + value)
        for flags, _key, value, _osversion, _hwcap in ENTRY.iter_unpack(entries)
        if flags & 1 and flags & 0xFF00 in ARCHITECTURES
    ]


def _header(data: bytes) -> int:
    """Find the new header; before glibc 2.32 it lies behind the old entries."""
    start = 0
    if data.startswith(OLD_MAGIC):
        (count,) = struct.unpack_from("=I", data, 12)
        start = (OLD_HEADER + count * OLD_ENTRY + 7) // 8 * 8
    if data[start : start + len(MAGIC)] != MAGIC:
        raise ValueError("no ld.so.cache")
    return start


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "surrogateescape")
