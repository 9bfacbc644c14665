# SPDX-License-Identifier: Apache-2.0
"""The loader's cache of a simulated machine, as ldconfig writes it there.

ldconfig reads every library of the host, so its result is kept as long as the host's cache and the
machine's libraries are the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import cache
from nvidia_runtime.simulate.tree import File, Tree

PATH = "/etc/ld.so.cache"
FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"


def name(files: Tree) -> str:
    """Return the name by which the cache of a machine with these files is kept."""
    digest = hashlib.sha256()
    for path, entry in files.items():
        digest.update(f"{path}\0{len(entry.data) if isinstance(entry, File) else ''}\0".encode())
    with suppress(FileNotFoundError):
        own = os.stat(PATH)
        digest.update(f"{own.st_dev} {own.st_ino} {own.st_mtime_ns} {own.st_size}".encode())
    return f"ld.so.cache-{digest.hexdigest()[:16]}"


def kept(kept_as: str) -> Tree:
    """Return the cache as a file of the machine, or nothing if it has to be written yet."""
    data = cache.read(kept_as)
    return {PATH: File(data)} if data else {}


def write(kept_as: str) -> None:
    """Write the cache, on the machine; without ldconfig the loader has none."""
    program = shutil.which("ldconfig", path=FOLDERS)
    if not program:
        return
    subprocess.run([program, "-X"], capture_output=True, check=False)
    with suppress(OSError, NvidiaRuntimeError):  # it is written again the next time
        with open(PATH, "rb") as file:
            data = file.read()
        with cache.new(kept_as) as path, open(path, "wb") as file:
            file.write(data)
