# SPDX-License-Identifier: Apache-2.0
"""Images in folders: trees as ``ls -l`` shows them, with shared libraries of a few bytes."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING, Any

from nvidia_runtime.rootfs import ldcache
from nvidia_runtime.simulate import elf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LDCONFIG = "/sbin/ldconfig"
FOLDER = "/usr/lib/x86_64-linux-gnu"
NOTE = b".note.cuda.fwd_compatibility"


def make(root: Path, tree: Mapping[str, str | bytes]) -> Path:
    """Make files with their texts, links from ``-> TARGET``, folders from names that end in /."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    return root


def library(soname: str = "") -> bytes:
    """Make a shared library for x86-64."""
    return elf.shared_object(soname, "x86_64")


def compatible(description: bytes, owner: bytes = b"NVIDIA Corporation") -> bytes:
    """Make a library with the note of CUDA's forward compatibility."""
    name = owner + b"\0"
    note = struct.pack("<III", len(name), len(description), 1)
    note += name + bytes(-len(name) % 4) + description + bytes(-len(description) % 4)
    names = b"\0" + NOTE + b"\0.shstrtab\0"
    at = 64 + len(note)
    table = at + len(names) + (-(at + len(names)) % 8)
    head = struct.pack(
        "<4s4B8xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0, 3, 62, 1, 0, 0, table, 0, 64, 56, 0, 64, 3, 2),
    )
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 7, 0, 0, 64, len(note), 0, 0, 4, 0)
    sections += struct.pack("<IIQQQQIIQQ", len(NOTE) + 2, 3, 0, 0, at, len(names), 0, 0, 1, 0)
    return (head + note + names).ljust(table, b"\0") + sections


def run_ldconfig(root: Path) -> None:
    """Let the host's ldconfig write the image's cache, as it does in a container."""
    (root / "etc").mkdir(parents=True, exist_ok=True)
    words = [LDCONFIG, "-r", os.fspath(root), "-f", "/etc/ld.so.conf", "-C", "/etc/ld.so.cache"]
    subprocess.run(words, check=True, capture_output=True)


def rows(root: Path) -> list[tuple[str, str, int, int]]:
    """Return the name, path, flags and hwcap of each entry of an image's cache, in their order."""
    cache = ldcache.parse((root / "etc/ld.so.cache").read_bytes())
    return [
        (name.decode(), path.decode(), flags, hwcap) for name, flags, path, hwcap in cache.rows()
    ]


def tree(root: Path) -> dict[str, Any]:
    """Return what is in a folder: type, mode, owner, and content or target of each entry."""
    entries: dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: Any = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
            mode = oct(status.st_mode)
            entries[os.path.relpath(path, root)] = (mode, status.st_uid, status.st_ino, content)
    return entries
