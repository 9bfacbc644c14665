# SPDX-License-Identifier: Apache-2.0
"""The names of shared libraries: which ldconfig looks at, and their order for glibc's loader.

Source: glibc, elf/ldconfig.c, and elf/dl-cache.c, _dl_cache_libcmp.
"""


def is_library(name: str) -> bool:
    """Whether ldconfig looks at a file of this name; not one that dpkg is writing."""
    return (
        (name.startswith(("lib", "ld-")))
        and (name.endswith(".so") or ".so." in name)
        and not name.endswith((".dpkg-new", ".dpkg-tmp"))
        and ";" not in name
        and ".#prelink#" not in name
    )


def is_soname(soname: bytes) -> bool:
    """Whether a soname can be a link's name beside the library; the file says it, so it may not."""
    return bool(soname) and b"/" not in soname and is_library(soname.decode("latin-1"))


def order(name: bytes) -> bytes:
    """Return a key that orders names as the loader does: digits are numbers, above all else.

    A number is C's int, which wraps; a letter is a signed char, as on x86.  A name is no longer
    than ld.so.cache's strings may be, which Python takes as a number.
    """
    if name.isascii() and b"00" not in name.translate(_DIGITS):
        return name.translate(_SMALL)
    key = b""
    at = 0
    for digits in name.translate(_BLANKS).split():
        start = name.index(digits, at)
        key += _letters(name[at:start]) + _number_key(int(digits) & 0xFFFFFFFF)
        at = start + len(digits)
    return key + _letters(name[at:])


def _letters(text: bytes) -> bytes:
    if text.isascii():
        return text
    return b"".join(bytes((byte,)) if byte < 128 else bytes((0, byte)) for byte in text)


# A number up to 63 is one byte above all letters, others have four bytes behind their first.
_FIGURES = b"0123456789"
_DIGITS = b"a" * 48 + b"0" * 10 + b"a" * 198
_BLANKS = b" " * 48 + _FIGURES + b" " * 198
_SMALL = bytes.maketrans(_FIGURES, bytes(range(0x81, 0x8B)))


def _number_key(number: int) -> bytes:
    if number >> 31:  # negative
        return b"\x80" + number.to_bytes(4, "big")
    if number < 64:
        return bytes((0x81 + number,))
    return b"\xff" + number.to_bytes(4, "big")
