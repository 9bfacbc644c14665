# SPDX-License-Identifier: Apache-2.0
"""The host as tests see it: folders in which state is kept, wherever settings lie, begin empty.

What the runtime, its tools and the engines of tests leave there vanishes with the tests.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNS = 0x20000
FOLDERS = (
    "/etc/cni/net.d",
    "/etc/containerd",
    "/etc/docker",
    "/run/containerd",
    "/run/containers",
    "/run/crun",
    "/run/docker",
    "/run/libpod",
    "/run/nvidia-container-runtime",
    "/run/runc",
    "/var/lib/containers",
    "/var/lib/nvidia-container-runtime",
)
COVER = 'mount --make-rslave / && for folder; do mount -t tmpfs -o mode=755 none "$folder"; done'


def make_folders() -> list[str]:
    """Make those of the folders that the host lacks, and return them with what is above them."""
    folders = []
    for folder in FOLDERS if os.geteuid() == 0 else ():
        for path in (*reversed(Path(folder).parents), Path(folder)):
            if not path.exists():
                path.mkdir()
                folders.append(os.fspath(path))
    return folders


def remove_folders(folders: Sequence[str]) -> None:
    """Remove folders again, unless somebody else uses them by now."""
    for path in reversed(folders):
        with suppress(OSError):
            os.rmdir(path)


@contextmanager
def entered() -> Iterator[None]:
    """Let this thread and what it starts see folders of their own, where that can be had.

    Threads that are there already, as of pytest-xdist, keep to the host's.
    """
    libc = ctypes.CDLL(None)
    here, before = os.getcwd(), os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNS) == 0:
            subprocess.run(["sh", "-c", COVER, "sh", *filter(os.path.isdir, FOLDERS)], check=True)
        yield
        libc.setns(before, CLONE_NEWNS)
        os.chdir(here)
    finally:
        os.close(before)
