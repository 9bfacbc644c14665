# SPDX-License-Identifier: Apache-2.0
"""A container's /etc/ld.so.cache with more rows than its image's.

Nothing is executed for it, neither the image's ldconfig nor the host's: CVE-2024-0135, -0136,
-0137 and CVE-2025-23267 were all in running one.
"""

from nvidia_runtime.rootfs import files, ldcache, merged_caches, resolver

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


class Others:
    """What mounts change: rows to add, paths that are gone, and the ranks of the folders."""

    __slots__ = ("gone", "ranks", "rows")

    def __init__(self) -> None:
        self.rows: "list[Row]" = []
        self.gone: list[bytes] = []
        self.ranks: dict[bytes, int] = {}

    def in_order(self, rows: "list[Row]") -> "list[Row]":
        """Return rows with ours in the order of their folders; one without a rank comes first."""
        return sorted(
            rows + self.rows, key=lambda row: self.ranks.get(row[2].rpartition(b"/")[0], -1)
        )


class ImageCache:
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


def read(root: resolver.Place) -> ImageCache:
    """Read the cache of a container.

    A missing one is empty, and so is what is not a regular file, too large or malformed: the loader
    goes on to its own folders where the cache has nothing.  Raises `UnknownFormatError`.
    """
    try:
        with resolver.walk(root, "/etc") as etc:
            data = files.read(etc, NAME, ldcache.LARGEST)
        if data.startswith(FAMILY) and not data.startswith(ldcache.MAGIC):
            raise UnknownFormatError(f"a later format: {data[: len(ldcache.MAGIC)]!r}")
        return ImageCache(ldcache.parse(data), "", data)
    except FileNotFoundError:
        return ImageCache(ldcache.Cache(), "")
    except (OSError, ldcache.MalformedError) as error:
        return ImageCache(ldcache.Cache(), str(error))


def add(
    root: resolver.Place,
    cached: ImageCache,
    rows: "list[Row]",
    gone: "Iterable[bytes]" = (),
    *,
    others: "Others | None" = None,
    state: str = "",
) -> bool:
    """Write the cache with these rows too, and without the paths ``gone``.

    The rows of ``others`` come where their folders do.

    Says whether anything changed; ``cached.trouble`` says why the image's rows were left out.  In
    the folder ``state`` results are remembered: an image is started more than once.
    """
    rest = (rows, list(gone), *((others.rows, others.gone, others.ranks) if others else ()))
    memory = merged_caches.Memory(state, cached.data, rest)
    data = memory.read()
    if data == UNCHANGED:
        return False
    if data is None:
        try:
            data = ldcache.dump(ldcache.merge(_with(cached.cache, others), rows, gone))
            memory.write(UNCHANGED if data == cached.data else data)
            merged_caches.Memory(state, data, rest).write(UNCHANGED)  # for its second start
        except (ldcache.MalformedError, ValueError) as error:
            cached.trouble = str(error)
            data = ldcache.dump(ldcache.merge(_with(ldcache.Cache(), others), rows))
    with resolver.walk(root, "/etc", make=True) as etc:
        return files.replace(etc, NAME, data)


def _with(cache: ldcache.Cache, others: "Others | None") -> ldcache.Cache:
    return ldcache.merge(cache, others.rows, others.gone, others.ranks) if others else cache
