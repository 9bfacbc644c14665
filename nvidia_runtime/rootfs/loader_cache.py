# SPDX-License-Identifier: Apache-2.0
"""A container's /etc/ld.so.cache with more rows than its image's.

Nothing is executed for it, neither the image's ldconfig nor the host's: CVE-2024-0135, -0136,
-0137 and CVE-2025-23267 were all in running one.  Ring: create, where it is used.
"""

import posix

from nvidia_runtime.rootfs import files, ldcache, loader_config, merged_caches, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.rootfs.ldcache import Row

NAME = "ld.so.cache"
UNCHANGED = b""
# A format of later glibc's would begin with this and another version.
FAMILY = ldcache.MAGIC[:17]


class UnknownFormatError(ValueError):
    """A cache of a later glibc than we know; it is better left as it is."""


class Known:
    """An image's cache, its bytes, and why it counts as empty, "" where it does not."""

    __slots__ = ("cache", "data", "trouble")

    def __init__(self, cache: ldcache.Cache, trouble: str, data: bytes = b"") -> None:
        self.cache = cache
        self.data = data
        self.trouble = trouble

    def paths(self) -> frozenset[bytes]:
        """Return the paths of its libraries; a cache that contradicts itself has none."""
        try:
            return frozenset(path for _, _, path, _ in self.cache.rows())
        except ldcache.MalformedError:
            return frozenset()


def read(root: resolver.Place) -> Known:
    """Read the cache of a container.

    A missing one is empty, and so is what is no regular file, too large or malformed: the loader
    goes on to its own folders where the cache has nothing.  Raises `UnknownFormatError`.
    """
    try:
        with resolver.walk(root, "/etc") as etc:
            data = files.read(etc, NAME, ldcache.LARGEST)
        if data.startswith(FAMILY) and not data.startswith(ldcache.MAGIC):
            raise UnknownFormatError(f"a later format: {data[: len(ldcache.MAGIC)]!r}")
        return Known(ldcache.parse(data), "", data)
    except FileNotFoundError:
        return Known(ldcache.Cache(), "")
    except (OSError, ldcache.MalformedError) as error:
        return Known(ldcache.Cache(), str(error))


def add(
    root: resolver.Place,
    known: Known,
    rows: "list[Row]",
    gone: "Iterable[bytes]" = (),
    state: str = "",
) -> bool:
    """Write the cache with these rows too, and without the paths ``gone``.

    Says whether anything changed; ``known.trouble`` says why the image's rows were left out.  In
    the folder ``state`` results are remembered: an image is started more than once.
    """
    rest = (rows, list(gone))
    memory = merged_caches.Memory(state, known.data, rest)
    data = memory.read()
    if data == UNCHANGED:
        return False
    if data is None:
        try:
            data = ldcache.dump(ldcache.merge(known.cache, rows, gone))
            memory.write(UNCHANGED if data == known.data else data)
            merged_caches.Memory(state, data, rest).write(UNCHANGED)  # for its second start
        except (ldcache.MalformedError, ValueError) as error:
            known.trouble = str(error)
            data = ldcache.dump(ldcache.merge(ldcache.Cache(), rows))
    with resolver.walk(root, "/etc", make=True) as etc:
        return files.replace(etc, NAME, data)


def is_scanned(root: resolver.Place, known: Known, folder: str) -> bool:
    """Whether a folder, by whatever name, is one that the image's own ldconfig looks at."""
    if folder in loader_config.system_folders(root):
        return True
    strings = b"\0" + known.cache.strings
    merged = folder.removeprefix("/usr") if folder.startswith("/usr/") else f"/usr{folder}"
    for name in (folder, merged):
        if b"\0" + resolver.encode(name) + b"/" in strings and _is_same(root, folder, name):
            return True
    return False


def _is_same(root: resolver.Place, one: str, other: str) -> bool:
    """Whether two names are of one folder: /lib is /usr/lib in most distributions."""
    if one == other:
        return True
    try:
        with resolver.walk(root, one) as first, resolver.walk(root, other) as second:
            return posix.fstat(first.descriptor)[1:3] == posix.fstat(second.descriptor)[1:3]
    except (OSError, ValueError):
        return False
