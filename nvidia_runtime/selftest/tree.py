# SPDX-License-Identifier: Apache-2.0
r"""A hostile image as text, one line for each entry, so that odd names can be kept in a file.

A line is ``KIND MODE PATH CONTENT``; escapes such as ``\x20`` stand for bytes, ``{canary}`` for the
folder that no attack may touch, ``{up}`` for the way up from any folder.
"""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Mapping
from pathlib import Path

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import elf

UP = "/.." * 30
UNITS = {"K": 10, "M": 20, "G": 30}


def build(text: str, root: Path, names: Mapping[str, str]) -> None:
    """Make the entries below ``root``, with the folders that lead to them.

    Raises `NvidiaRuntimeError` for one that would be made outside.
    """
    root.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(text.splitlines(), 1):
        if line and line[0] != "#":
            _build_line(line, root, names, f"tree, line {number}")


def has_nodes(text: str) -> bool:
    """Whether a tree has device nodes, for which root is needed."""
    return any(line.startswith(("char ", "block ")) for line in text.splitlines())


def _build_line(line: str, root: Path, names: Mapping[str, str], where: str) -> None:
    kind, mode, path, *rest = line.split(" ", 3)
    content = _decode(rest[0] if rest else "", names)
    place = os.path.join(os.fsencode(root), _decode(path, names).lstrip(b"/"))
    parent = os.path.dirname(place)
    os.makedirs(parent, exist_ok=True)
    if not Path(os.fsdecode(parent)).resolve().is_relative_to(root.resolve()):
        raise NvidiaRuntimeError(f"{path!r} is outside the image", where=where)
    if kind == "link":
        os.symlink(content, place)
        return
    if kind == "hard":
        os.link(content, place)
        return
    if kind == "many":  # empty files of numbered names
        for number in range(int(content)):
            os.close(os.open(b"%s%d" % (place, number), os.O_CREAT | os.O_WRONLY, 0o644))
        return
    if kind == "folder":
        os.makedirs(place, exist_ok=True)
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind in ("char", "block"):
        major, minor = content.split(b":")
        form = stat.S_IFCHR if kind == "char" else stat.S_IFBLK
        os.mknod(place, form, os.makedev(int(major), int(minor)))
    elif kind == "file":
        _write(place, content)
    else:
        raise NvidiaRuntimeError(f"unknown kind {kind!r}", where=where)
    os.chmod(place, int(mode, 8))


def _write(place: bytes, content: bytes) -> None:
    """Write a file of ``text:``, ``sparse:SIZE``, ``repeat:COUNT:TEXT`` or ``library:SONAME``.

    ``cache:COUNT:TEXT`` is a loader's cache of one library, in a path that repeats the text.
    """
    form, _, rest = content.partition(b":")
    with open(place, "xb") as file:
        if form == b"sparse":
            size = rest.decode()
            file.truncate(int(size[:-1]) << UNITS[size[-1]])
        elif form == b"repeat":
            count, _, text = rest.partition(b":")
            file.write(text * int(count))
        elif form == b"cache":
            count, _, text = rest.partition(b":")
            file.write(_cache(text * int(count)))
        elif form == b"library":
            file.write(elf.shared_object(rest.decode(), platform.machine()))
        else:
            file.write(rest)


def _cache(folder: bytes) -> bytes:
    """Make a loader's cache as glibc writes it: a head of 48 bytes, 24 for a library, strings."""
    strings = b"libx.so.1\0" + folder + b"/libx.so.1\0"
    numbers = (1, len(strings), 0, 0, 0, 0, 0), (0x0303, 72, 72 + len(b"libx.so.1\0"), 0, 0, 0)
    head, entry = (b"".join(n.to_bytes(4, "little") for n in part) for part in numbers)
    return b"glibc-ld.so.cache1.1" + head + entry + strings


def _decode(text: str, names: Mapping[str, str]) -> bytes:
    for name, value in {**names, "up": UP}.items():
        text = text.replace(f"{{{name}}}", value)
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


def program() -> bytes:
    """Make a program that ends at once, for containers whose image has none."""
    code, machine = {
        # mov $60, %eax; xor %edi, %edi; syscall
        "x86_64": (bytes.fromhex("b83c00000031ff0f05"), 62),
        # mov x8, #93; mov x0, #0; svc #0
        "aarch64": (bytes.fromhex("a80b8052000080d2010000d4"), 183),
    }.get(platform.machine(), (b"", 0))
    if not code:
        raise NvidiaRuntimeError(f"no program is known for {platform.machine()}")
    head = b"\x7fELF\2\1\1".ljust(16, b"\0")
    numbers = (2, machine, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    sizes = (2, 2, 4, 8, 8, 8, 4, 2, 2, 2, 2, 2, 2)
    head += b"".join(
        value.to_bytes(size, "little") for value, size in zip(numbers, sizes, strict=True)
    )
    total = 64 + 56 + len(code)
    segment = (0, 0x400000, 0x400000, total, total, 0x1000)
    words = (1).to_bytes(4, "little") + (5).to_bytes(4, "little")
    return head + words + b"".join(value.to_bytes(8, "little") for value in segment) + code
