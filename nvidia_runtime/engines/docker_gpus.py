# SPDX-License-Identifier: Apache-2.0
"""``docker run --gpus``: docker knows it where our hook was in dockerd's PATH when it started.

Then the hook, or our runtime in its place, gives the container its GPUs.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nvidia_runtime.engines import processes

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Intent, Version

HOOK = "nvidia-container-runtime-hook"
CDI_HOOK = "nvidia-cdi-hook"
BY_CDI = (29,)  # https://github.com/moby/moby/pull/50228


def goes_by_hook(version: Version, search: str, *, has_spec: bool) -> bool:
    """Whether ``--gpus`` comes to the hook, where runc is the runtime."""
    return not (version >= BY_CDI and has_spec and shutil.which(CDI_HOOK, path=search))


def is_known(version: Version, search: str, *, has_spec: bool) -> bool:
    """Whether ``--gpus`` leads anywhere, given dockerd's PATH and whether it reads a CDI spec."""
    if shutil.which(HOOK, path=search):
        return True
    return version >= BY_CDI and has_spec and bool(shutil.which(CDI_HOOK, path=search))


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
