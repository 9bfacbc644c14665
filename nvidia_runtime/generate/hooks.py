# SPDX-License-Identifier: Apache-2.0
"""Hooks of ours in container edits: ``nvidia-ctk hook VERB`` or ``nvidia-cdi-hook VERB``.

Ring: elsewhere.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Edits = dict[str, Any]


def hook(program: str, verb: str, *args: str) -> Edits:
    """Give the entry of a hook; ``program`` is the absolute path on the host.

    The environment is never empty: runc would hand on its own.
    """
    name = program.rpartition("/")[2]
    words = [name, "hook"] if name == "nvidia-ctk" else [name]
    return {
        "hookName": "createContainer",
        "path": program,
        "args": [*words, verb, *args],
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }


def create_symlinks(program: str, links: Iterable[tuple[str, str]]) -> list[Edits]:
    """Give the hook that makes links, each a path in the container and a target; none for none."""
    args = [
        word
        for text in dict.fromkeys(f"{target}::{link}" for link, target in links)
        for word in ("--link", text)
    ]
    return [hook(program, "create-symlinks", *args)] if args else []


def enable_cuda_compat(program: str, driver_version: str) -> Edits:
    """Give the hook that puts an image's newer libcuda in front of the driver's."""
    return hook(program, "enable-cuda-compat", f"--host-driver-version={driver_version}")


def update_ldcache(program: str, folders: Iterable[str] = ()) -> Edits:
    """Give the hook that runs ldconfig for these folders besides the usual ones."""
    args = [word for folder in folders for word in ("--folder", folder)]
    return hook(program, "update-ldcache", *args)
