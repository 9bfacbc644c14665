# SPDX-License-Identifier: Apache-2.0
"""``docker run --gpus``: docker knows it where our hook was in dockerd's PATH when it started.

Then the hook, or our runtime in its place, gives the container its GPUs.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nvidia_runtime.engines import processes

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Intent

HOOK = "nvidia-container-runtime-hook"


def usage(intent: Intent, pid: int) -> str:
    """Say how containers ask for GPUs, given the daemon that runs, 0 for none."""
    named = "" if intent.is_default else f" --runtime={intent.name}"
    search = processes.search_path(pid)
    if shutil.which(HOOK, path=search):
        return f"containers get GPUs by 'docker run{named} --gpus all'"
    return (
        f"containers get GPUs by 'docker run{named} -e NVIDIA_VISIBLE_DEVICES=all';"
        f" '--gpus all' works, too, once {HOOK} is in dockerd's PATH ({search}) and it is restarted"
    )
