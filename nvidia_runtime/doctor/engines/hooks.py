# SPDX-License-Identifier: Apache-2.0
"""OCI hooks that podman and cri-o run of themselves: hooks.d(5), as NVIDIA's packages had them."""

from __future__ import annotations

import glob
import json
import os
import stat
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said

NAMES = ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-ctk")
LARGEST = 1 << 20

TWICE = Code(
    "NCT-0440",
    WARNING,
    "the prestart hook runs beside CDI",
    """
    A file of hooks.d has podman or cri-o run nvidia-container-runtime-hook for every container,
    while they inject CDI devices themselves.  A container whose image says
    NVIDIA_VISIBLE_DEVICES=all then gets its GPUs by the hook, too, or fails by it (rootless:
    "nvidia-container-cli: mount error: … operation not permitted").  NVIDIA's packages before 1.14
    shipped the file as oci-nvidia-hook.json.
    """,
    """
    Remove the file, and ask by CDI: 'podman run --device nvidia.com/gpu=all'.
    """,
)
MISSING = Code(
    "NCT-0441",
    ERROR,
    "a hook of every container is not there",
    """
    A file of hooks.d names nvidia-container-runtime-hook in a place where it is not.  podman and
    cri-o run it for each container, which fails: "error executing hook
    `/usr/bin/nvidia-container-toolkit` (exit code: 1)", "no such file or directory".
    """,
    """
    Remove the file, or have it written for the hook that is here: 'nvidia-ctk runtime configure
    --config-mode=oci-hook'.
    """,
)
CODES = (TWICE, MISSING)


def check(facts: Facts) -> Iterator[Said]:
    """Look at the hooks of podman or cri-o."""
    if not facts.is_seen:
        return
    for folder in facts.daemon.engine.hook_folders:
        for path in sorted(glob.glob(f"{folder}/*.json")):
            program = _program(path)
            if os.path.basename(program) not in NAMES:
                continue
            code, what = TWICE, f"{path} has {facts.engine} run {program}, and CDI is on"
            if not os.access(program, os.X_OK):
                code, what = MISSING, f"{path} has {facts.engine} run {program}, which is missing"
            elif not (facts.cdi and facts.has_spec):
                continue
            command = f"rm {path}"
            yield Finding(code=code, what=what, where=path, command=command, engine=facts.engine)


def _program(path: str) -> str:
    """Return the program of a hook, "" where the file has none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, encoding="utf-8") as file:
            document = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return ""
    hook = document.get("hook") if isinstance(document, dict) else None
    program = hook.get("path") if isinstance(hook, dict) else document
    return program if isinstance(program, str) else ""
