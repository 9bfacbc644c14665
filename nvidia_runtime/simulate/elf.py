# SPDX-License-Identifier: Apache-2.0
"""Shared objects without code, which take no compiler; see elf(5).

They have section headers, by which Go's debug/elf finds DT_SONAME, and program headers, by which
ldconfig finds it; dlopen(3) loads them, dlsym(3) finds nothing in them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ET_DYN, PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 3, 1, 2, 0x6474E551
PF_RW = 6  # the loader writes addresses into the dynamic section
SHT_STRTAB, SHT_DYNAMIC, SHF_ALLOC = 3, 6, 2
DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 0, 4, 5, 6, 10, 11, 14
PROGRAM_HEADERS = 3
SECTION_NAMES = b"\0.dynstr\0.dynamic\0.shstrtab\0"


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes and forms of a class: the file header, its tables, and the address in them."""

    number: int
    header: int
    program_header: int
    section_header: int
    symbol: int
    word: str

    @property
    def dynamic(self) -> str:
        """Return the form of an entry of the dynamic section."""
        return f"<{self.word.lower()}{self.word}"


LAYOUT_32, LAYOUT_64 = Layout(1, 52, 32, 40, 16, "I"), Layout(2, 64, 56, 64, 24, "Q")
# Their numbers are in elf.h.
MACHINES = {"i386": (3, LAYOUT_32), "x86_64": (62, LAYOUT_64), "aarch64": (183, LAYOUT_64)}


def shared_object(soname: str, architecture: str) -> bytes:
    """Make a shared object; with an empty SONAME it has no DT_SONAME."""
    machine, layout = MACHINES.get(architecture, (0, LAYOUT_64))
    strings = b"\0" + (soname.encode() + b"\0" if soname else b"")
    # The null symbol, and its hash table.
    symbols = bytes(layout.symbol) + struct.pack("<4I", 1, 1, 0, 0)
    symbols_at = layout.header + PROGRAM_HEADERS * layout.program_header
    strings_at = symbols_at + len(symbols)
    dynamic_at = _aligned(strings_at + len(strings))
    entries = [(DT_SONAME, 1)] if soname else []
    entries += [(DT_STRTAB, strings_at), (DT_STRSZ, len(strings))]
    entries += [(DT_SYMTAB, symbols_at), (DT_SYMENT, layout.symbol)]
    entries += [(DT_HASH, symbols_at + layout.symbol), (DT_NULL, 0)]
    dynamic = b"".join(struct.pack(layout.dynamic, tag, value) for tag, value in entries)
    names_at = dynamic_at + len(dynamic)
    headers_at = _aligned(names_at + len(SECTION_NAMES))
    size = headers_at + 4 * layout.section_header
    entry = len(dynamic) // len(entries)
    parts = {
        0: _header(layout, machine, headers_at)
        + _program(layout, PT_LOAD, 0, size, 0x1000)
        + _program(layout, PT_DYNAMIC, dynamic_at, len(dynamic), 8)
        + _program(layout, PT_GNU_STACK, 0, 0, 16),  # else the stack would be made executable
        symbols_at: symbols,
        strings_at: strings,
        dynamic_at: dynamic,
        names_at: SECTION_NAMES,
        headers_at: bytes(layout.section_header)
        + _section(layout, ".dynstr", SHT_STRTAB, SHF_ALLOC, strings_at, len(strings))
        + _section(
            layout,
            *(".dynamic", SHT_DYNAMIC, SHF_ALLOC, dynamic_at, len(dynamic)),
            link=1,
            entry=entry,
        )
        + _section(layout, ".shstrtab", SHT_STRTAB, 0, names_at, len(SECTION_NAMES)),
    }
    image = bytearray(size)
    for offset, part in parts.items():
        image[offset : offset + len(part)] = part
    return bytes(image)


def _aligned(offset: int) -> int:
    return (offset + 7) & ~7


def _header(layout: Layout, machine: int, section_headers_at: int) -> bytes:
    word = layout.word
    return struct.pack(
        f"<4s4B8xHHI{word}{word}{word}IHHHHHH",
        *(b"\x7fELF", layout.number, 1, 1, 0),
        *(ET_DYN, machine, 1, 0, layout.header, section_headers_at, 0),
        *(layout.header, layout.program_header, PROGRAM_HEADERS, layout.section_header, 4, 3),
    )


def _program(layout: Layout, kind: int, offset: int, size: int, alignment: int) -> bytes:
    """Make a program header; addresses in memory are offsets in the file."""
    places = (*[offset] * 3, *[size] * 2)
    if layout is LAYOUT_32:
        return struct.pack("<8I", kind, *places, PF_RW, alignment)
    return struct.pack("<IIQQQQQQ", kind, PF_RW, *places, alignment)


def _section(  # noqa: PLR0917 (as the fields of elf.h)
    layout: Layout,
    name: str,
    kind: int,
    flags: int,
    offset: int,
    size: int,
    *,
    link: int = 0,
    entry: int = 0,
) -> bytes:
    """Make a section header; an allocated section's address is its offset in the file."""
    at = SECTION_NAMES.index(name.encode())
    address = offset if flags else 0
    word = layout.word
    fields = (at, kind, flags, address, offset, size, link, 0, 8, entry)
    return struct.pack(f"<II{word}{word}{word}{word}II{word}{word}", *fields)
