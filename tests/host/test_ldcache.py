# SPDX-License-Identifier: Apache-2.0
"""ld.so.cache: both layouts, and what ldconfig itself says about the host's."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from nvidia_runtime.host import ldcache

X86_64, I386, AARCH64 = 0x0303, 0x0003, 0x0A03


def cache(libraries: list[tuple[int, str]]) -> bytes:
    """Write a cache in the layout of glibc 2.32 and later."""
    start = 48 + 24 * len(libraries)
    entries, strings = b"", b""
    for flags, path in libraries:
        at = start + len(strings)
        entries += struct.pack("=iIIIQ", flags, at, at, 0, 0)
        strings += path.encode() + b"\0"
    head = b"glibc-ld.so.cache1.1" + struct.pack("=II", len(libraries), len(strings))
    return head.ljust(48, b"\0") + entries + strings


def old_cache(libraries: list[tuple[int, str]]) -> bytes:
    """Write a cache as ldconfig did before: old entries first, which end at any multiple of 4."""
    old = b"ld.so-1.7.0\0" + struct.pack("=I", len(libraries)) + bytes(12 * len(libraries))
    return old + bytes(-len(old) % 8) + cache(libraries)


LIBRARIES = [
    (X86_64, "/opt/x/libcuda.so.1"),
    (I386, "/opt/32/libcuda.so.1"),
    (AARCH64, "/opt/a/libcuda.so.1"),
]


@pytest.mark.parametrize("data", [cache(LIBRARIES), old_cache(LIBRARIES), old_cache(LIBRARIES[:1])])
def test_parse_gives_64_bit_libraries(data: bytes) -> None:
    expected = ["/opt/x/libcuda.so.1", "/opt/a/libcuda.so.1"]

    assert ldcache.parse(data) == expected[: 2 if b"/opt/a" in data else 1]


def test_libraries_for_i386_are_apart(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.cache").write_bytes(cache(LIBRARIES))

    assert ldcache.paths_32(f"{tmp_path}") == ["/opt/32/libcuda.so.1"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"ld.so-1.7.0", id="half a header"),
        pytest.param(b"glibc-ld.so.cache1.1", id="no count"),
        pytest.param(cache(LIBRARIES)[:100], id="no strings"),
        pytest.param(cache(LIBRARIES)[:60], id="half an entry"),
        pytest.param(b"x" * 100, id="something else"),
    ],
)
def test_malformed_cache_has_no_libraries(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.cache").write_bytes(data)

    assert ldcache.paths(f"{tmp_path}") == []


def test_missing_cache_has_no_libraries(tmp_path: Path) -> None:
    assert ldcache.paths(f"{tmp_path}") == []


@pytest.mark.skipif(not shutil.which("ldconfig", path="/sbin:/usr/sbin"), reason="no ldconfig")
def test_paths_are_those_of_ldconfig() -> None:
    path = shutil.which("ldconfig", path="/sbin:/usr/sbin") or ""
    text = subprocess.run([path, "-p"], capture_output=True, text=True, check=True).stdout
    lines = [line.partition(" => ") for line in text.splitlines() if " => " in line]
    wide = [path for name, _, path in lines if "x86-64" in name or "AArch64" in name]

    assert ldcache.paths("/") == list(dict.fromkeys(wide))
