# SPDX-License-Identifier: Apache-2.0
"""podman as a user without rights runs it.

The GPUs' nodes are in /dev, as a user namespace cannot make any: of a namespace of the test's own.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from . import podman as rootful
from .machine import Machine
from .podman import Podman

USER = 65534
# The words are the folder of nodes, that of CDI specs, and the command.
VIEW = f"""
nodes=$1 specs=$2
shift 2
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/cdi /run/dev /run/user
cp "$specs"/* /run/cdi
for name in full fuse null random tty urandom zero; do
  [ ! -e "/dev/$name" ] || cp -a "/dev/$name" /run/dev
done
cp -a "$nodes"/* /run/dev
chmod 666 /run/dev/nvidia*
ln -s pts/ptmx /run/dev/ptmx
ln -s /proc/self/fd /run/dev/fd
for name in pts shm mqueue; do mkdir -p "/run/dev/$name"; done
mount --rbind /dev/pts /run/dev/pts
mount -t tmpfs -o mode=1777 none /run/dev/shm
mount --rbind /run/dev /dev
exec setpriv --reuid={USER} --regid={USER} --clear-groups "$@"
"""


def enter(machine: Machine) -> tuple[str, ...]:
    """Return the words that go before a command of the user's."""
    view = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", VIEW, "sh")
    return (*view, os.fspath(machine.scratch / "dev"), os.fspath(machine.scratch / "cdi"))


def own(folder: Path) -> None:
    """Make a folder the user's, with all that is in it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)


def podman(machine: Machine, live: Podman) -> Podman:
    """Return the user's podman, with a folder and a runtime of ours that are the user's."""
    folder = machine.scratch / "pr"
    _end_at_exit(folder)
    if not folder.exists():
        folder.mkdir()
        (folder / "containers.conf").write_text(rootful.CONFIG)
    runtime = machine.runtime("rootless", shutil.which("runc") or "runc")
    own(runtime.path.parent)
    return replace(live, folder=folder, runtime=runtime)


@functools.cache
def _end_at_exit(folder: Path) -> None:
    atexit.register(_end, folder)


def _end(folder: Path) -> None:
    """End the process that keeps the user's namespace, known by its HOME."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_podman = (process / "comm").read_bytes() == b"podman pause\n"
            variables = (process / "environ").read_bytes().split(b"\0") if is_podman else []
            if b"HOME=" + os.fsencode(folder) in variables:
                os.kill(int(process.name), signal.SIGKILL)
