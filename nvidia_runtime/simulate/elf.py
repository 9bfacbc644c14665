# SPDX-License-Identifier: Apache-2.0
"""Shared objects without code, which take no compiler; see elf(5).

They have section headers, by which Go's debug/elf finds DT_SONAME, and program headers, by which
ldconfig finds it; dlopen(3) loads them, dlsym(3) finds nothing in them.
"""

from __future__ import annotations

import struct

MACHINES = {"x86_64": 62, "aarch64": 183}
ET_DYN, PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 3, 1, 2, 0x6474E551
PF_RW = 6  # the loader writes addresses into the dynamic section
SHT_STRTAB, SHT_DYNAMIC, SHF_ALLOC = 3, 6, 2
DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 0, 4, 5, 6, 10, 11, 14
SYMBOL = 24
NO_SYMBOLS = bytes(SYMBOL) + struct.pack("<4I", 1, 1, 0, 0)  # the null symbol, and its hash table
HEADER, PROGRAM_HEADER, SECTION_HEADER = 64, 56, 64
PROGRAM_HEADERS = 3
SECTION_NAMES = b"\0.dynstr\0.dynamic\0.shstrtab\0"


def shared_object(soname: str, architecture: str) -> bytes:
    """Make an ELF64 shared object; with an empty SONAME it has no DT_SONAME."""
    strings = b"\0" + (soname.encode() + b"\0" if soname else b"")
    symbols_at = HEADER + PROGRAM_HEADERS * PROGRAM_HEADER
    strings_at = symbols_at + len(NO_SYMBOLS)
    dynamic_at = _aligned(strings_at + len(strings))
    entries = [(DT_SONAME, 1)] if soname else []
    entries += [(DT_STRTAB, strings_at), (DT_STRSZ, len(strings))]
    entries += [(DT_SYMTAB, symbols_at), (DT_SYMENT, SYMBOL), (DT_HASH, symbols_at + SYMBOL)]
    entries += [(DT_NULL, 0)]
    dynamic = b"".join(struct.pack("<qQ", tag, value) for tag, value in entries)
    names_at = dynamic_at + len(dynamic)
    headers_at = _aligned(names_at + len(SECTION_NAMES))
    size = headers_at + 4 * SECTION_HEADER
    parts = {
        0: _header(architecture, headers_at)
        + _program(PT_LOAD, 0, size, 0x1000)
        + _program(PT_DYNAMIC, dynamic_at, len(dynamic), 8)
        + _program(PT_GNU_STACK, 0, 0, 16),  # without it, the stack would be made executable
        symbols_at: NO_SYMBOLS,
        strings_at: strings,
        dynamic_at: dynamic,
        names_at: SECTION_NAMES,
        headers_at: bytes(SECTION_HEADER)
        + _section(".dynstr", SHT_STRTAB, SHF_ALLOC, strings_at, len(strings))
        + _section(".dynamic", SHT_DYNAMIC, SHF_ALLOC, dynamic_at, len(dynamic), link=1, entry=16)
        + _section(".shstrtab", SHT_STRTAB, 0, names_at, len(SECTION_NAMES)),
    }
    image = bytearray(size)
    for offset, part in parts.items():
        image[offset : offset + len(part)] = part
    return bytes(image)


def _aligned(offset: int) -> int:
    return (offset + 7) & ~7


def _header(architecture: str, section_headers_at: int) -> bytes:
    return struct.pack(
        "<4s4B8xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0),
        *(ET_DYN, MACHINES.get(architecture, 0), 1, 0, HEADER, section_headers_at, 0),
        *(HEADER, PROGRAM_HEADER, PROGRAM_HEADERS, SECTION_HEADER, 4, 3),
    )


def _program(kind: int, offset: int, size: int, alignment: int) -> bytes:
    """Make a program header; addresses in memory are offsets in the file."""
    return struct.pack("<IIQQQQQQ", kind, PF_RW, *[offset] * 3, *[size] * 2, alignment)


def _section(
    name: str, kind: int, flags: int, offset: int, size: int, *, link: int = 0, entry: int = 0
) -> bytes:
    """Make a section header; an allocated section's address is its offset in the file."""
    at = SECTION_NAMES.index(name.encode())
    address = offset if flags else 0
    return struct.pack("<IIQQQQIIQQ", at, kind, flags, address, offset, size, link, 0, 8, entry)
