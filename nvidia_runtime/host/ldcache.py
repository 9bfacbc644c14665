# SPDX-License-Identifier: Apache-2.0
"""The host's ld.so.cache, read for the libraries that lie outside the usual folders."""

from __future__ import annotations

from nvidia_runtime.host import platform
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.rootfs import ldcache

# The architecture in an entry's flags: x86-64, ppc64, AArch64.
ARCHITECTURES = (0x0300, 0x0500, 0x0A00)
I386 = (0x0000,)


def paths(root: str) -> list[str]:
    """List the 64-bit libraries in the cache below the root, as paths below the root.

    A missing or malformed cache is empty: it is only the last place to look.  Raises
    `NvidiaRuntimeError` for one that cannot be read.
    """
    return _paths(root, ARCHITECTURES)


def paths_32(root: str) -> list[str]:
    """List the libraries for i386 in the cache, as `paths` does."""
    return _paths(root, I386)


def _paths(root: str, architectures: tuple[int, ...]) -> list[str]:
    path = driver_root.join(root, platform.CACHE)
    try:
        with open(path, "rb") as file:
            return list(dict.fromkeys(parse(file.read(ldcache.LARGEST + 1), architectures)))
    except ldcache.MalformedError:
        return []
    except OSError as error:
        if driver_root.is_missing(error):
            return []
        raise driver_root.unreadable(path, error) from None


def parse(data: bytes, architectures: tuple[int, ...] = ARCHITECTURES) -> list[str]:
    """Return the paths in a cache.  Raises `ldcache.MalformedError` for any other data."""
    return [
        path.decode("utf-8", "surrogateescape")
        for _name, flags, path, _hwcap in ldcache.parse(data).rows()
        if flags & 1 and flags & 0xFF00 in architectures
    ]
