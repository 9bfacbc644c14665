# SPDX-License-Identifier: Apache-2.0
"""The shared libraries in a folder of a container: the links and cache entries that they need.

As ldconfig does: a library is known by its soname, by which a link leads to the file; of several
files the one with the highest version counts.
"""

import posix

from nvidia_runtime.rootfs import elf, files, library_names, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.rootfs.ldcache import Row

# More than any distribution has in one folder; beyond it an image only wants to be slow.
MOST_NAMES = 20_000
MOST_FILES = 4_000
# Of all folders of a call: an image may have many names for one.
MOST_IN_ALL = 2 * MOST_FILES
# Deeper than any folder of libraries; each link in it is followed from the root.
DEEPEST = 64


class Budget:
    """How many files a call may still look into, whatever their folders."""

    __slots__ = ("files",)

    def __init__(self) -> None:
        self.files = MOST_IN_ALL


class Candidate:
    """The file that stands for a soname so far."""

    __slots__ = ("flags", "is_link", "name")

    def __init__(self, name: str, is_link: bool, flags: int) -> None:
        self.name = name
        self.is_link = is_link
        self.flags = flags


def scan(
    root: resolver.Place, folder: str, cached: frozenset[bytes], budget: Budget | None = None
) -> "tuple[list[Row], list[tuple[str, str]]]":
    """Return the rows of a folder's libraries, and the links (soname and file) that it lacks.

    Libraries whose path is among ``cached``, those of the image's own cache, need nothing, unless
    there is a better one of the same soname: the driver's, which is mounted, before the image's.
    """
    budget = budget or Budget()
    with resolver.walk(root, folder) as place:
        if place.path.count("/") > DEEPEST:
            return [], []
        names = [name for name in place.names()[:MOST_NAMES] if library_names.is_library(name)]
        links = _known_links(place, folder, names, cached)
        skipped = {*links, *links.values()}
        chosen: dict[bytes, Candidate] = {}
        wanted = [name for name in names if name not in skipped]
        del wanted[min(MOST_FILES, budget.files) :]
        budget.files -= len(wanted)
        for name in wanted:
            identified = _identify(root, place, name)
            if identified is None:
                continue
            soname, candidate = identified
            other = chosen.get(soname)
            if other is None:
                target = links.get(soname.decode("utf-8", "surrogateescape"))
                other = Candidate(target, is_link=False, flags=candidate.flags) if target else None
            if other is None or _is_better(place, candidate, other):
                chosen[soname] = candidate
        return _results(folder, chosen)


def _results(
    folder: str, chosen: dict[bytes, Candidate]
) -> "tuple[list[Row], list[tuple[str, str]]]":
    path = resolver.encode(folder.rstrip("/"))
    rows = [
        (soname, candidate.flags, b"%s/%s" % (path, soname)) for soname, candidate in chosen.items()
    ]
    links = [
        (soname.decode("utf-8", "surrogateescape"), candidate.name)
        for soname, candidate in chosen.items()
        if not candidate.is_link and resolver.encode(candidate.name) != soname
    ]
    return rows, links


def _known_links(
    place: resolver.Place, folder: str, names: list[str], cached: frozenset[bytes]
) -> dict[str, str]:
    """Return what the image's cache knows of a folder: names, and the files that they lead to."""
    path = resolver.encode(folder.rstrip("/"))
    result: dict[str, str] = {}
    for name in names if cached else ():
        encoded = resolver.encode(name)
        if b"%s/%s" % (path, encoded) in cached:
            target = files.read_link(place, name) or encoded
            is_beside = b"/" not in target  # elsewhere it is not of this folder
            result[name] = target.decode("utf-8", "surrogateescape") if is_beside else name
    return result


def _identify(
    root: resolver.Place, place: resolver.Place, name: str
) -> tuple[bytes, Candidate] | None:
    """Return the soname that a file or link stands for, ``None`` for what is not a library."""
    is_link = files.read_link(place, name) is not None
    try:
        if is_link:  # what it leads to may lie in another folder of the image
            with resolver.walk(root, f"{place.path}/{name}") as target:
                descriptor = files.open_place(target)
        else:
            descriptor = files.open_regular(place, name)
    except (OSError, ValueError):
        return None
    try:
        library = elf.identify(descriptor)
    finally:
        posix.close(descriptor)
    if library is None:
        return None
    encoded = resolver.encode(name)
    soname = library.soname or encoded
    if not library_names.is_soname(soname):
        return None
    if is_link and encoded != soname and not (name.endswith(".so") and soname.startswith(encoded)):
        is_link = False  # neither the link of the loader nor that of the linker: a file like others
    return (encoded if is_link else soname), Candidate(name, is_link, library.flags)


def _is_better(place: resolver.Place, one: Candidate, other: Candidate) -> bool:
    """Whether a file replaces another of its soname.

    A file comes before a link, what is mounted before what is the image's, since the driver's fits
    the kernel, and a higher version before a lower.
    """
    if one.is_link != other.is_link:
        return other.is_link
    mounted = _is_mounted(place, one.name), _is_mounted(place, other.name)
    if mounted[0] != mounted[1]:
        return mounted[0]
    order = library_names.order
    return order(resolver.encode(one.name)) > order(resolver.encode(other.name))


def _is_mounted(place: resolver.Place, name: str) -> bool:
    """Whether a file in a folder is a mount of its own."""
    if place.mounts:
        return place.mounts.has(place.path, name)
    try:
        descriptor = place.entry(name)
    except OSError:
        return False
    from nvidia_runtime.rootfs import mounts  # seldom: two files of one soname

    with resolver.Place(descriptor, name) as file:
        return mounts.identity(file) != mounts.identity(place)
