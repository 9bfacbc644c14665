# SPDX-License-Identifier: Apache-2.0
"""What libraries say of themselves, and that no file makes the reader crash or wait."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvidia_runtime.rootfs import elf
from nvidia_runtime.simulate import elf as writer

from . import images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X86_64, I386, AARCH64 = 0x0303, 0x0003, 0x0A03
LIBRARY = images.library("libcuda.so.1")
NOTE = images.compatible(b'{"Driver": [550]}')
OWNER = b"NVIDIA Corporation"


def reading(path: Path, data: bytes, read: Callable[[int], object]) -> object:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read(descriptor)
    finally:
        os.close(descriptor)


def identified(path: Path, data: bytes) -> tuple[bytes, int] | None:
    library = reading(path, data, elf.identify)
    return (library.soname, library.flags) if isinstance(library, elf.Library) else None


def with_machine(machine: int) -> bytes:
    return LIBRARY[:18] + struct.pack("<H", machine) + LIBRARY[20:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(LIBRARY, (b"libcuda.so.1", X86_64), id="x86-64"),
        pytest.param(
            writer.shared_object("libcuda.so.1", "aarch64"), (b"libcuda.so.1", AARCH64), id="arm"
        ),
        pytest.param(images.library(), (b"", X86_64), id="no soname"),
        pytest.param(with_machine(22), None, id="s390x"),
        pytest.param(LIBRARY[:16] + b"\2\0" + LIBRARY[18:], None, id="an executable"),
        pytest.param(LIBRARY[:5] + b"\2" + LIBRARY[6:], None, id="big-endian"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"/* GNU ld script */", None, id="a linker's script"),
        pytest.param(LIBRARY[:100], None, id="truncated"),
    ],
)
def test_identify(data: bytes, expected: object, tmp_path: Path) -> None:
    assert identified(tmp_path / "f", data) == expected


def with_long_dynamic(entries: int) -> bytes:
    """Put entries of no meaning in front of the dynamic section's own."""
    changed = bytearray(LIBRARY)
    header = 64 + 56 * next(n for n in range(2) if LIBRARY[64 + 56 * n] == elf.PT_DYNAMIC)
    (offset,) = struct.unpack_from("<Q", LIBRARY, header + 8)
    (size,) = struct.unpack_from("<Q", LIBRARY, header + 32)
    dynamic = struct.pack("<qQ", 21, 0) * entries + LIBRARY[offset : offset + size]
    struct.pack_into("<Q", changed, header + 8, len(changed))
    struct.pack_into("<Q", changed, header + 32, len(dynamic))
    return bytes(changed) + dynamic


@pytest.mark.parametrize(
    ("entries", "soname"),
    [
        pytest.param(300, b"libcuda.so.1", id="longer than real ones"),
        pytest.param(600, b"", id="so long that it only costs time"),
    ],
)
def test_long_dynamic_section(entries: int, soname: bytes, tmp_path: Path) -> None:
    assert identified(tmp_path / "f", with_long_dynamic(entries)) == (soname, X86_64)


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
@pytest.mark.parametrize(("flag", "flags"), [("-m64", X86_64), ("-m32", I386)])
def test_what_a_compiler_makes(flag: str, flags: int, tmp_path: Path) -> None:
    words = ["gcc", flag, "-shared", "-nostdlib", "-Wl,-soname,libx.so.9", "-o", "f", "-xc", "-"]
    built = subprocess.run(words, input=b"int x;", cwd=tmp_path, capture_output=True, check=False)
    if built.returncode:
        pytest.skip(f"gcc {flag} does not work here")

    assert identified(tmp_path / "f", (tmp_path / "f").read_bytes()) == (b"libx.so.9", flags)


@pytest.mark.parametrize(
    ("section", "owner", "expected"),
    [
        (images.NOTE, OWNER, b'{"Driver": [550]}'),
        (images.NOTE, b"Somebody", b""),
        (b".note.other", OWNER, b""),
    ],
)
def test_note(section: bytes, owner: bytes, expected: bytes, tmp_path: Path) -> None:
    content = reading(tmp_path / "f", NOTE, lambda descriptor: elf.note(descriptor, section, owner))

    assert content == expected


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    data=st.sampled_from([LIBRARY, NOTE]),
    changes=st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=8)), max_size=5),
)
def test_no_byte_makes_it_crash(
    data: bytes, changes: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(data) : at % len(data) + len(value)] = value

    identified(tmp_path / "f", bytes(changed))
    reading(tmp_path / "f", bytes(changed), lambda fd: elf.note(fd, images.NOTE, OWNER))
