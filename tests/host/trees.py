# SPDX-License-Identifier: Apache-2.0
"""Fake driver roots, written as ``ls -l`` shows them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "550.54.15"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
DRIVER = {
    f"{LIBRARIES}/libcuda.so.{VERSION}": "",
    f"{LIBRARIES}/libcuda.so.1": f"-> libcuda.so.{VERSION}",
    f"{LIBRARIES}/libcuda.so": "-> libcuda.so.1",
}


def make(root: Path, tree: dict[str, str]) -> str:
    """Make files with their texts, links from ``-> TARGET``, folders from names that end in /."""
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
    return os.fspath(root)


def mknod(path: Path, major: int, minor: int, mode: int = 0o666, gid: int = 0) -> None:
    """Make a character device, or skip the test where that is not allowed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(major, minor))
        os.chown(path, 0, gid)
    except PermissionError:
        pytest.skip("mknod needs root")
    path.chmod(mode)
