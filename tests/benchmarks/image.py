# SPDX-License-Identifier: Apache-2.0
"""An image as Debian's are for a loader, with a shell."""

from __future__ import annotations

import shutil
from pathlib import Path

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def make(root: Path) -> None:
    """Make an image in a folder: this host's cache, and what Debian's name to ldconfig."""
    for name in (LIBRARIES, "etc/ld.so.conf.d", "bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    shutil.copy("/etc/ld.so.cache", root / "etc/ld.so.cache")
    (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (root / "etc/ld.so.conf.d/libc.conf").write_text("/usr/local/lib\n")
    (root / "etc/ld.so.conf.d/x86_64-linux-gnu.conf").write_text(
        f"/usr/local/{LIBRARIES[4:]}\n/{LIBRARIES[4:]}\n/{LIBRARIES}\n"
    )
    (root / "etc/debian_version").write_text("12.0\n")
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", root / "bin/sh")
