# SPDX-License-Identifier: Apache-2.0
"""Place a file, a folder and a node in a root again and again, in a mount namespace of its own.

The words: ``ours`` or ``naive``, the root, what must never be mounted over, seconds and tries.
It ends when something is mounted elsewhere, and says how often it was done.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvidia_runtime.container_cli.existing import Existing
from nvidia_runtime.container_cli.placing import Placing
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import mount
from nvidia_runtime.rootfs import mounts

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
MOUNTS: list[dict[str, Any]] = [
    {"destination": f"{LIBRARIES}/libcuda.so.999.1", "source": __file__, "options": ["ro"]},
    {"destination": f"{LIBRARIES}/passwd", "source": __file__, "options": ["ro"]},
    {"destination": "/etc/nvidia/folder", "source": str(Path(__file__).parent)},
]
NODE: dict[str, Any] = {"path": "/etc/node", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}
Try = Callable[[str], None]
# What was mounted before, and what has been elsewhere than in the root.
BEFORE: set[str] = set()
OUT: list[str] = []


def ours(root: str) -> None:
    """Do as `configure` does."""
    placing = Placing(Existing(0, root), [])
    try:
        placing.make_nodes([NODE], {NODE["path"]: "/dev/null"})
        placing.copy(MOUNTS)
        placing.mount()
    finally:
        OUT.extend(strangers(root))
        placing.take_back()
        os.closerange(3, 1 << 16)  # as when the process ends


def naive(root: str) -> None:
    """Look where a path leads, and use it then."""
    libc = ctypes.CDLL(None, use_errno=True)
    for one in MOUNTS[:1]:
        path = root + one["destination"]
        if os.path.realpath(path).startswith(root):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "ab").close()
            if libc.mount(one["source"].encode(), path.encode(), None, 0x1000, None) == 0:
                OUT.extend(strangers(root))
                libc.umount2(path.encode(), 2)


def strangers(root: str) -> list[str]:
    """List what has been mounted elsewhere than in the root, or made in the folder."""
    points = mounts.points("/proc/self/mountinfo") - BEFORE
    return [path for path in points if not path.startswith(f"{root}/")]


def main() -> None:
    """Do what the words say."""
    way, root, outside, seconds, tries = sys.argv[1:]
    mount.unshare(mount.CLONE_NEWNS)
    mount.make_private("/")
    mount.bind(root, root)
    BEFORE.update(mounts.points("/proc/self/mountinfo"))
    acts: dict[str, Try] = {"ours": ours, "naive": naive}
    present = sorted(os.listdir(outside))
    done = failed = 0
    end = time.monotonic() + float(seconds)
    while not OUT and done + failed < int(tries) and time.monotonic() < end:
        try:
            acts[way](root)
            done += 1
        except (OSError, ValueError, NvidiaRuntimeError):
            failed += 1
        OUT.extend(sorted(set(os.listdir(outside)) - set(present)))
    print(json.dumps({"out": OUT, "done": done, "failed": failed}))
