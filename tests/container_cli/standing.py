# SPDX-License-Identifier: Apache-2.0
"""A container as it stands at prestart, without a runtime: its mounts are made, its root is not.

The words are the root, and volumes as SOURCE:DESTINATION.  It says when it stands, and ends with
its input.  What is mounted goes where the container's links lead, as with a runtime.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from nvidia_runtime.linux import mount
from nvidia_runtime.rootfs import resolver


def stand(root: str, volumes: list[str]) -> None:
    """Move to a mount namespace, and make a container's mounts in it."""
    mount.unshare(mount.CLONE_NEWNS)
    mount.make_private("/")
    if os.path.islink(root):  # which no runtime takes for a root
        return
    mount.bind(root, root)
    with resolver.open_root(root) as top:
        for path, kind in (("/dev", "tmpfs"), ("/proc", "proc")):
            with resolver.walk(top, path, make=True) as place:
                mount.mount(kind, place.by_descriptor(), "mode=755" if kind == "tmpfs" else "")
        for volume in volumes:
            source, _, path = volume.partition(":")
            with suppress(OSError), resolver.walk(top, path) as place:
                mount.bind(source, place.by_descriptor())


def main() -> None:
    """Do what the words say."""
    stand(sys.argv[1], sys.argv[2:])
    print(flush=True)
    sys.stdin.read()
