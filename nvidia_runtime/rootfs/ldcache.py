# SPDX-License-Identifier: Apache-2.0
"""glibc's ld.so.cache: read, written, and added to.  Bytes in, bytes out; no file is touched.

The file is a header, entries in a strict order, a table of strings, and extensions (a generator's
name, the names of glibc-hwcaps folders).  Offsets count from the header, so each moves when an
entry is added.  glibc before 2.32 puts an older table in front, which may be left out.
Source: glibc, sysdeps/generic/dl-cache.h and elf/cache.c.
"""

import sys

from nvidia_runtime import start
from nvidia_runtime.rootfs import library_names

_struct = start.private("_struct", "struct", "Struct", "error", "pack", "unpack", "unpack_from")
Struct, error = _struct.Struct, _struct.error
pack, unpack, unpack_from = _struct.pack, _struct.unpack, _struct.unpack_from
MAGIC = b"glibc-ld.so.cache1.1"
OLD_MAGIC = b"ld.so-1.7.0"
HEADER = Struct("=20sIIB3xI12x")  # magic, entries, bytes of strings, flags, offset of extensions
OLD_HEADER, OLD_ENTRY, ENTRY = 16, 12, 24
# An entry is six words: flags, name, path, OS version (0: any), hwcap low and high.
WORDS, NAME, PATH, OS_VERSION, LOW, HIGH = 6, 1, 2, 3, 4, 5
EXTENSIONS = 0xEAA42174
GENERATOR, HWCAPS = 0, 1
BYTE_ORDER = 2 if sys.byteorder == "little" else 3
# Real caches have up to 10,000 entries and 1 MB; beyond this a file is an attack.
LARGEST = 4 << 20
MOST_ENTRIES = 50_000
LONGEST_STRING = 4096
MOST_EXTENSIONS = 16

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    # name, flags (architecture and libc), path
    Row = tuple[bytes, int, bytes]


class MalformedError(ValueError):
    """Not a cache of this machine's, or one that contradicts itself."""


class Cache:
    """A cache: entries as words, strings as bytes, of which the first is at offset ``base``.

    ``prefix`` is the older table in front, "" without.
    """

    __slots__ = ("base", "flags", "generator", "hwcaps", "prefix", "strings", "words")

    def __init__(self) -> None:
        self.prefix = b""
        self.flags = BYTE_ORDER
        self.words: list[int] = []
        self.base = HEADER.size
        self.strings = b""
        self.generator = b""
        self.hwcaps: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.words) // WORDS

    def text(self, offset: int) -> bytes:
        """Return the string at an offset of an entry's."""
        start = offset - self.base
        if not 0 <= start < len(self.strings):
            raise MalformedError("a string lies outside the table")
        end = self.strings.find(b"\0", start, start + LONGEST_STRING + 1)
        if end < 0:
            raise MalformedError("a string is too long")
        return self.strings[start:end]

    def rows(self) -> "Iterator[tuple[bytes, int, bytes, int]]":
        """Return each entry's name, flags, path and hwcap, in their order."""
        words = self.words
        for at in range(0, len(words), WORDS):
            hwcap = words[at + LOW] | words[at + HIGH] << 32
            name, path = self.text(words[at + NAME]), self.text(words[at + PATH])
            yield name, words[at], path, hwcap


def parse(data: bytes) -> Cache:
    """Read a cache; what it says of itself is believed only as far as there are bytes for it."""
    if len(data) > LARGEST:
        raise MalformedError("is too large")
    try:
        return _parse(data)
    except error as wrong:
        raise MalformedError(f"is too short: {wrong}") from None


def _parse(data: bytes) -> Cache:
    cache = Cache()
    start = 0
    if data[: len(OLD_MAGIC)] == OLD_MAGIC:
        (count,) = unpack_from("=I", data, 12)
        start = (OLD_HEADER + count * OLD_ENTRY + 7) & ~7
        cache.prefix = data[:start]
    magic, count, size, cache.flags, extensions = HEADER.unpack_from(data, start)
    if magic != MAGIC:
        raise MalformedError("is in another format")
    if cache.flags & 3 not in (0, BYTE_ORDER):
        raise MalformedError("is of another byte order")
    end = start + HEADER.size + count * ENTRY
    if count > MOST_ENTRIES or end + size > len(data):
        raise MalformedError("says that it is larger than it is")
    cache.words = list(unpack(f"={count * WORDS}I", data[start + HEADER.size : end]))
    cache.base = HEADER.size + count * ENTRY
    cache.strings = data[end : end + size]
    if cache.strings[-1:] not in (b"", b"\0"):
        raise MalformedError("has a string without an end")
    if extensions and cache.flags & 3 == BYTE_ORDER and extensions % 4 == 0:
        _parse_extensions(cache, data, extensions)
    return cache


def _parse_extensions(cache: Cache, data: bytes, at: int) -> None:
    """Read the extensions; their offsets are the file's, those of hwcaps' names the header's."""
    magic, count = unpack_from("=II", data, at)
    if magic != EXTENSIONS or count > MOST_EXTENSIONS:
        return
    for number in range(count):
        tag, _, offset, size = unpack_from("=IIII", data, at + 8 + 16 * number)
        if offset + size > len(data):
            raise MalformedError("an extension lies outside")
        if tag == GENERATOR:
            cache.generator = data[offset : offset + size]
        elif tag == HWCAPS:
            cache.hwcaps = unpack_from(f"={size // 4}I", data, offset)


def dump(cache: Cache) -> bytes:
    """Write a cache; one that was only read becomes the bytes that it was."""
    body = pack(f"={len(cache.words)}I", *cache.words) + cache.strings
    sections = []
    if cache.generator:
        sections.append((GENERATOR, cache.generator))
    if cache.hwcaps:
        sections.append((HWCAPS, pack(f"={len(cache.hwcaps)}I", *cache.hwcaps)))
    end = len(cache.prefix) + HEADER.size + len(body)
    at = (end + 3) & ~3
    head: bytes = HEADER.pack(
        MAGIC, len(cache), len(cache.strings), cache.flags, at if sections else 0
    )
    if not sections:
        return bytes(cache.prefix + head + body)
    # ldconfig lists the generator first and writes it last: the numbers have to be aligned.
    places: dict[int, int] = {}
    offset, content = at + 8 + 16 * len(sections), b""
    for tag, data in reversed(sections):
        places[tag] = offset + len(content)
        content += data
    table = pack("=II", EXTENSIONS, len(sections))
    for tag, data in sections:
        table += pack("=IIII", tag, 0, places[tag], len(data))
    return b"".join((cache.prefix, head, body, bytes(at - end), table, content))


def merge(
    cache: Cache,
    rows: "Iterable[Row]",
    gone: "Iterable[bytes]" = (),
    ranks: "Mapping[bytes, int] | None" = None,
) -> Cache:
    """Add rows, each where ldconfig puts those of a folder that comes first in ld.so.conf.

    The loader takes the first of a name, so the order is everything: entries with a hwcap, then
    ours in their order, then the rest; a row of a folder in ``ranks`` comes behind entries of
    folders with a lower rank.  An entry with one of our paths is replaced; those with a path in
    ``gone`` go.
    """
    added = list(rows)
    offsets = _find(cache.strings, {*gone, *[path for _, _, path in added]})
    words = _without(cache, {at + cache.base for places in offsets.values() for at in places})
    names, paths = words[NAME::WORDS], words[PATH::WORDS]
    _check(cache, names, paths, cache.hwcaps)
    places = _places(cache, words, added, ranks or {})
    total = len(words) // WORDS + len(added)
    merged = Cache()
    merged.base = HEADER.size + total * ENTRY
    merged.generator = cache.generator
    shift = merged.base - cache.base
    merged.hwcaps = tuple(offset + shift for offset in cache.hwcaps)
    if shift:
        words[NAME::WORDS] = [offset + shift for offset in names]
        words[PATH::WORDS] = [offset + shift for offset in paths]
    strings = bytearray(cache.strings)
    last = 0
    for at, flags, name, path in places:
        merged.words += words[last:at]
        last = at
        name_at, path_at = _add(strings, offsets, name, path)
        merged.words += (flags, merged.base + name_at, merged.base + path_at, 0, 0, 0)
    merged.words += words[last:]
    merged.strings = bytes(strings)
    return merged


def _check(cache: Cache, *kinds: "Sequence[int]") -> None:
    """Refuse offsets out of the table: moved, they would lead into our strings, or not fit."""
    end = cache.base + len(cache.strings)
    for offsets in kinds:
        if offsets and not (cache.base <= min(offsets) and max(offsets) < end):
            raise MalformedError("a string lies outside the table")


def _find(strings: bytes, paths: set[bytes]) -> dict[bytes, list[int]]:
    """Find paths in the table, where strings may share their ends: all places of each.

    Each string is looked at once, however often an image repeats a folder in it.
    """
    folders: dict[bytes, list[bytes]] = {}
    for path in paths:
        at = path.rfind(b"/") + 1
        folders.setdefault(path[at:], []).append(path[:at])
    offsets: dict[bytes, list[int]] = {}
    start = 0
    for text in strings.split(b"\0"):
        at = text.rfind(b"/") + 1
        name = text[at:]
        for folder in folders.get(name, ()):
            if text.endswith(folder, 0, at):
                offsets.setdefault(folder + name, []).append(start + at - len(folder))
        start += len(text) + 1
    return offsets


def _without(cache: Cache, offsets: set[int]) -> list[int]:
    """Return the words of a cache without the entries whose paths are at these offsets."""
    words = cache.words[:]
    gone = [number for number, offset in enumerate(words[PATH::WORDS]) if offset in offsets]
    for number in reversed(gone):
        del words[number * WORDS : (number + 1) * WORDS]
    return words


def _places(
    cache: Cache, words: list[int], rows: "list[Row]", ranks: "Mapping[bytes, int]"
) -> "list[tuple[int, int, bytes, bytes]]":
    """Find where each row belongs among the words, which are in descending order; by bisection."""
    keys: dict[int, tuple[bytes, int, int]] = {}

    def key_of(number: int) -> tuple[bytes, int, int]:
        key = keys.get(number)
        if key is None:
            at = number * WORDS
            hwcap = 1 if words[at + LOW] or words[at + HIGH] else 0
            key = keys[number] = (
                library_names.order(cache.text(words[at + NAME])),
                words[at],
                hwcap,
            )
        return key

    ordered = [
        (library_names.order(name), flags, -number, name, path)
        for number, (name, flags, path) in enumerate(rows)
    ]
    ordered.sort(reverse=True)
    places = []
    low, count = 0, len(words) // WORDS
    for key, flags, _, name, path in ordered:
        wanted = (key, flags, 0)
        high = count
        while low < high:
            middle = (low + high) // 2
            if key_of(middle) > wanted:
                low = middle + 1
            else:
                high = middle
        rank = ranks.get(path.rpartition(b"/")[0], -1)
        while rank > 0 and low < count and key_of(low) == wanted:
            other = cache.text(words[low * WORDS + PATH]).rpartition(b"/")[0]
            if ranks.get(other, rank) >= rank:
                break
            low += 1
        places.append((low * WORDS, flags, name, path))
    return places


def _add(
    strings: bytearray, offsets: dict[bytes, list[int]], name: bytes, path: bytes
) -> tuple[int, int]:
    """Return the offsets of a row's name and path, which are appended if they are not there.

    A string that is there already is used again: the file must not grow at every start.
    """
    places = offsets.get(path)
    if path.endswith(b"/" + name):
        if places is None:
            places = offsets[path] = [len(strings)]
            strings += path + b"\0"
        return places[0] + len(path) - len(name), places[0]
    at = strings.find(path + b"\0" + name + b"\0")
    if at < 0:
        at = len(strings)
        strings += path + b"\0" + name + b"\0"
    return at + len(path) + 1, at
