# SPDX-License-Identifier: Apache-2.0
"""A bundle is told where it is: in the first lines of its programs, and in its interpreter.

The interpreter names its loader by an absolute path, before which the bundle's maker has left room:
slashes, which mean nothing.  This file runs by itself, also where nothing else can be imported.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

LOADER = re.compile(rb"/{2,}[^/\0](?:[^\0]*/)?lib/(ld-linux-[a-z0-9_-]+\.so\.\d)\0")
FIRST_LINE = re.compile(
    rb"#!(?:/bin/sh|/[^\n ]*/bin/busybox sh|/usr/bin/env python3|/[^\n ]*/bin/python3 -IS?)\n"
)
# What the kernel reads of a script's first line.
LONGEST_LINE = 127


def relocate(folder: Path, prefix: str) -> list[str]:
    """Tell the bundle in ``folder`` that it is at ``prefix``; return the files that were changed.

    Times and modes stay.  Raises ValueError for a prefix that cannot be, or what is no bundle.
    """
    prefix = os.path.normpath(prefix)
    if not prefix.startswith("/") or not re.fullmatch(r"[\w./+-]+", prefix):
        raise ValueError(f"{prefix}: is not an absolute path of letters, digits and ._+-")
    programs = [path for path in sorted(folder.joinpath("bin").iterdir()) if not path.is_symlink()]
    moved = {}
    for program in programs:
        data = program.read_bytes()
        is_interpreter = program.name == "python3"
        new = _interpreter(data, prefix) if is_interpreter else _script(data, prefix)
        if new != data:
            moved[program] = new
    for program, new in moved.items():
        _replace(program, new)
    return [program.name for program in moved]


def _script(data: bytes, prefix: str) -> bytes:
    line = FIRST_LINE.match(data)
    if not line:
        return data
    is_python = b"python3" in line[0]
    program = "python3 -IS" if is_python else "busybox sh"
    first = f"#!{prefix}/bin/{program}\n".encode()
    if len(first) > LONGEST_LINE:
        raise ValueError(f"{prefix}: is too long for the first line of a program")
    return first + data[line.end() :]


def _interpreter(data: bytes, prefix: str) -> bytes:
    place = LOADER.search(data)
    if not place:
        raise ValueError("bin/python3: has no room for the path of its loader")
    path = f"{prefix}/lib/".encode() + place[1] + b"\0"
    if len(path) > len(place[0]):
        raise ValueError(f"{prefix}: is too long for the path of the loader")
    return data[: place.start()] + path.rjust(len(place[0]), b"/") + data[place.end() :]


def _replace(file: Path, data: bytes) -> None:
    """Replace a file, which may be running."""
    status = file.stat()
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_bytes(data)
    new.chmod(status.st_mode & 0o7777)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(file)


if __name__ == "__main__":
    try:
        relocate(Path(sys.argv[1]), sys.argv[2])
    except (OSError, ValueError) as error:
        sys.exit(f"relocate: {error}")
