# SPDX-License-Identifier: Apache-2.0
"""A folder that stands for the host: an attack must not change it, or copy anything out of it."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import stat
from pathlib import Path

from nvidia_runtime.simulate import elf

LARGEST = 16 << 20


class Canary:
    """The folder, the secret that is in each of its files, and its state before an attack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = secrets.token_hex(24).encode()
        for name in ("etc", "lib", "empty"):
            (folder / name).mkdir(parents=True)
        text = b"root:x:0:0\n" + self.secret
        library = elf.shared_object("libcuda.so.1", platform.machine()) + self.secret
        for name, mode, data in (
            ("shadow", 0o600, text),
            ("passwd", 0o644, text),
            ("etc/ld.so.conf", 0o644, b"/opt/host/lib\n# " + self.secret),
            ("etc/ld.so.cache", 0o644, text),
            ("lib/libcuda.so.999.9", 0o644, library),
            ("lib/libcuda.so.999.9.9", 0o644, library),
        ):
            (folder / name).write_bytes(data)
            (folder / name).chmod(mode)
        self.before = _look(folder)

    def harm(self) -> list[str]:
        """Say what has changed: content, owner, mode, inode, times, new and missing names."""
        now = _look(self.folder)
        names = sorted(now.keys() | self.before.keys())
        changed = [name for name in names if now.get(name) != self.before.get(name)]
        return [
            f"{name} on the host was {'made' if name not in self.before else 'changed'}"
            for name in changed
        ]

    def leaks(self, root: Path) -> list[str]:
        """List the files of a container that contain the secret, other than the canary's own."""
        own = {(status[0], status[1]) for status in self.before.values()}
        leaks = []
        for folder, _, files in os.walk(root):
            for name in files:
                path = os.path.join(folder, name)
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) in own:
                    continue
                is_readable = os.access(path, os.R_OK)  # other files cannot be of the attack
                if is_readable and status.st_blocks and status.st_size <= LARGEST:
                    with open(path, "rb") as file:
                        if self.secret in file.read():
                            leaks.append(os.path.relpath(path, root))
        return leaks


def _look(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the state of each entry, without the number of links, which replacing one lowers."""
    states: dict[str, tuple[object, ...]] = {".": _status(os.fspath(folder))}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(above, name)
            states[os.path.relpath(path, folder)] = _status(path)
    return states


def _status(path: str) -> tuple[object, ...]:
    status = os.lstat(path)
    digest = ""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    numbers = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns)
    return (status.st_dev, status.st_ino, *numbers, digest)
