# SPDX-License-Identifier: Apache-2.0
"""ld.so.cache: what is read is written again byte for byte, and rows go where ldconfig puts them."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvidia_runtime.rootfs import ldcache, library_names, loader, resolver

from . import images

X86_64 = 0x0303
needs_ldconfig = pytest.mark.skipif(
    not shutil.which(images.LDCONFIG), reason="needs ldconfig of glibc"
)


def row(name: str, folder: str = "/nv") -> ldcache.Row:
    return name.encode(), X86_64, f"{folder}/{name}".encode()


def names(cache: ldcache.Cache) -> list[str]:
    return [path.decode() for _, _, path, _ in cache.rows()]


def with_old_table(data: bytes, count: int = 3) -> bytes:
    """Put the table of glibc before 2.32 in front, whose entries are not read any more."""
    old = b"ld.so-1.7.0\0" + struct.pack("=I", count) + bytes(12 * count)
    return old + bytes(-len(old) % 8) + data


def host_cache() -> bytes:
    try:
        return Path("/etc/ld.so.cache").read_bytes()
    except FileNotFoundError:
        pytest.skip("this host has no ld.so.cache")


@needs_ldconfig
def test_cache_of_this_host_is_written_as_it_was() -> None:
    data = host_cache()

    assert ldcache.dump(ldcache.parse(data)) == data


def test_old_table_is_kept_until_something_is_added() -> None:
    cache = ldcache.merge(ldcache.Cache(), [row("liba.so.1")])
    data = with_old_table(ldcache.dump(cache))

    assert ldcache.dump(ldcache.parse(data)) == data
    merged = ldcache.dump(ldcache.merge(ldcache.parse(data), [row("libb.so.1")]))
    assert merged.startswith(ldcache.MAGIC)
    assert names(ldcache.parse(merged)) == ["/nv/libb.so.1", "/nv/liba.so.1"]


@needs_ldconfig
def test_ldconfig_reads_what_is_written(tmp_path: Path) -> None:
    merged = ldcache.merge(ldcache.parse(host_cache()), [row("libcuda.so.1")])
    (tmp_path / "cache").write_bytes(ldcache.dump(merged))

    words = [images.LDCONFIG, "-p", "-C", f"{tmp_path}/cache"]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout

    assert "\tlibcuda.so.1 (libc6,x86-64) => /nv/libcuda.so.1\n" in text
    assert text.startswith(f"{len(merged)} libs found")


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("liba.so.9", "liba.so.10"),
        ("liba.so.1", "liba.so.1.1"),
        ("liba.so", "liba.so.1"),
        ("liba", "lib1"),
        ("liba.so", "libb.so"),
        ("lib-a", "liba"),
        ("liba.so.2147483648", "liba.so.1"),
    ],
)
def test_order_of_names(lower: str, higher: str) -> None:
    assert library_names.order(lower.encode()) < library_names.order(higher.encode())


def test_numbers_are_equal_whatever_their_zeros() -> None:
    assert library_names.order(b"a.so.01") == library_names.order(b"a.so.1")


def test_ours_come_before_the_images_own() -> None:
    image = ldcache.merge(
        ldcache.Cache(), [row("libcuda.so.1", "/image"), row("libz.so.1", "/image")]
    )

    merged = ldcache.merge(image, [row("libcuda.so.1"), row("libcuda.so.1", "/second")])

    assert names(merged) == [
        "/image/libz.so.1",
        "/nv/libcuda.so.1",
        "/second/libcuda.so.1",
        "/image/libcuda.so.1",
    ]


def test_merging_twice_changes_nothing() -> None:
    rows = [row(f"lib{letter}.so.{number}") for letter in "xyz" for number in range(9)]
    once = ldcache.dump(ldcache.merge(ldcache.parse(host_cache()), rows))

    assert ldcache.dump(ldcache.merge(ldcache.parse(once), rows)) == once


def grow(root: Path, folder: str, chance: random.Random) -> None:
    """Fill a folder with libraries, links, and what only looks like them.

    No two names are equal but for zeros: for ldconfig the order of the directory decides of those.
    """
    place = root / folder.lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    libraries: list[str] = []
    for _ in range(chance.randint(1, 25)):
        stem = "".join(chance.choices("ab1_-+.9", k=chance.randint(1, 4)))
        version = "".join(f".{chance.choice(['0', '1', '2', '10', '9'])}" for _ in range(2))
        soname = f"lib{stem}.so{version[: chance.choice([0, 2, 3])]}".rstrip(".")
        name = chance.choice([soname, f"lib{stem}.so{version}", f"lib{stem}.so{version}.7"])
        path = place / name
        if path.is_symlink() or path.exists():
            continue
        kind = chance.random()
        if kind < 0.15 and libraries:
            path.symlink_to(chance.choice(libraries))
        elif kind < 0.2:
            path.write_text("no library")
        else:
            path.write_bytes(images.library(soname if chance.random() < 0.9 else ""))
            libraries.append(name)


def check_against_ldconfig(seed: int, folder: Path) -> None:
    """Add a folder to an image, once by ldconfig and once by ourselves."""
    chance = random.Random(seed)
    base = folder / f"{seed}"
    conf = {"etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n"}
    images.make(base, conf | {"etc/ld.so.conf.d/image.conf": "/image\n/usr/local/lib\n"})
    for place in ("/image", "/usr/local/lib", "/image/glibc-hwcaps/x86-64-v2"):
        grow(base, place, chance)
    images.run_ldconfig(base)
    grow(base, "/nv", chance)
    theirs, ours = folder / f"{seed}-theirs", folder / f"{seed}-ours"
    for copy in (theirs, ours):
        shutil.copytree(base, copy, symlinks=True)

    (theirs / "etc/ld.so.conf.d/00-nvcr.conf").write_text("/nv\n")
    images.run_ldconfig(theirs)
    with resolver.open_root(os.fspath(ours)) as root:
        loader.update(root, ["/nv"], [])
        once = images.tree(ours)
        loader.update(root, ["/nv"], [])

    assert images.rows(ours) == images.rows(theirs)
    assert sorted(os.listdir(ours / "nv")) == sorted(os.listdir(theirs / "nv"))
    assert images.tree(ours) == once
    images.run_ldconfig(ours)  # what a package installation in the container does
    assert images.rows(ours) == images.rows(theirs)


@needs_ldconfig
def test_rows_are_those_of_ldconfig(tmp_path: Path) -> None:
    for seed in range(25):
        check_against_ldconfig(seed, tmp_path)


@needs_ldconfig
@pytest.mark.long
def test_rows_are_those_of_ldconfig_in_many_images(tmp_path: Path) -> None:
    for seed in range(1000, 1300):
        check_against_ldconfig(seed, tmp_path)
        for copy in tmp_path.iterdir():
            shutil.rmtree(copy)


BASE = ldcache.dump(
    ldcache.merge(ldcache.Cache(), [row(f"lib{number}.so.1", "/image") for number in range(20)])
)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "is too short", id="empty"),
        pytest.param(b"ld.so-1.7.0\0", "is too short", id="half an old header"),
        pytest.param(b"x" * 200, "is in another format", id="something else"),
        pytest.param(BASE[:100], "says that it is larger than it is", id="truncated"),
        pytest.param(BASE[:20] + b"\xff" * 4 + BASE[24:], "larger than it is", id="many entries"),
        pytest.param(BASE[:28] + b"\1" + BASE[29:], "of another byte order", id="byte order"),
        pytest.param(BASE[:-1] + b"x", "has a string without an end", id="no end"),
        pytest.param(BASE + bytes(ldcache.LARGEST), "is too large", id="large"),
    ],
)
def test_malformed(data: bytes, says: str) -> None:
    with pytest.raises(ldcache.MalformedError, match=says):
        ldcache.parse(data)


def test_offsets_out_of_the_table() -> None:
    data = BASE[:52] + b"\xff\xff\xff\x7f" + BASE[56:]

    with pytest.raises(ldcache.MalformedError, match="outside the table"):
        list(ldcache.parse(data).rows())


@pytest.mark.parametrize("word", [ldcache.NAME, ldcache.PATH])
@pytest.mark.parametrize(
    "offset", [0, ldcache.HEADER.size, len(BASE), (1 << 31) - 1, (1 << 32) - 1]
)
def test_offsets_out_of_the_table_are_not_moved(offset: int, word: int) -> None:
    """They might lead into the rows that are added, or no longer fit into their 32 bits."""
    data = bytearray(BASE)
    struct.pack_into("=I", data, ldcache.HEADER.size + 4 * word, offset)

    with pytest.raises(ldcache.MalformedError, match="outside the table"):
        ldcache.merge(ldcache.parse(bytes(data)), [row("libcuda.so.1")])


@pytest.mark.parametrize("offset", [0, len(BASE), (1 << 32) - 1])
def test_offsets_of_hwcaps_out_of_the_table_are_not_moved(offset: int) -> None:
    cache = ldcache.parse(BASE)
    cache.hwcaps = (cache.base, offset)

    with pytest.raises(ldcache.MalformedError, match="outside the table"):
        ldcache.merge(ldcache.parse(ldcache.dump(cache)), [row("libcuda.so.1")])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"1" * (1 << 20), id="digits without an end"),
        pytest.param(b"a" * (1 << 20), id="a name without an end"),
        pytest.param(b"1." * 2000, id="many numbers"),
        pytest.param(b"/nv/" * 900_000, id="our folder without an end"),
        pytest.param(b"/nv/lib1.so.1\0" * 200_000, id="our path over and over"),
    ],
)
def test_worst_input_takes_no_time(name: bytes) -> None:
    cache = ldcache.Cache()
    cache.strings = b"/" + name + b"\0"
    count = 20_000
    cache.base = ldcache.HEADER.size + count * ldcache.ENTRY
    cache.words = [X86_64, cache.base + 1, cache.base, 0, 0, 0] * count
    data = ldcache.dump(cache)
    began = time.process_time()
    try:
        ldcache.merge(ldcache.parse(data), [row(f"lib{number}.so.1") for number in range(50)])
    except ldcache.MalformedError:
        pass

    assert time.process_time() - began < 20  # quadratic, it would be hours of this process alone


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(BASE)),
)
def test_no_byte_makes_it_crash(changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(BASE)
    for at, value in changes:
        data[at] = value
    try:
        cache = ldcache.parse(bytes(data[: length or None]))
        list(cache.rows())
        ldcache.dump(ldcache.merge(cache, [row("libcuda.so.1")]))
    except ldcache.MalformedError:
        pass
