# SPDX-License-Identifier: Apache-2.0
"""Hooks of ours in container edits: ``nvidia-ctk hook VERB`` or ``nvidia-cdi-hook VERB``.

Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime.prepare.verbs import THEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Edits = dict[str, Any]

ALL = "all"
# Deprecated: only who asks for it gets it.
OFF = ("chmod",)


def hook(program: str, name: str, *args: str) -> Edits:
    """Return the entry of a hook; ``program`` is the absolute path on the host.

    The environment is never empty: runc would hand on its own.
    """
    file = program.rpartition("/")[2]
    words = [file, "hook"] if file == "nvidia-ctk" else [file]
    return {
        "hookName": "createContainer",
        "path": program,
        "args": [*words, name, *args],
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }


def create_symlinks(program: str, links: Iterable[tuple[str, str]]) -> list[Edits]:
    """Return the hook that makes links, each a path in the container and a target, if any."""
    args = [
        word
        for text in dict.fromkeys(f"{target}::{link}" for link, target in links)
        for word in ("--link", text)
    ]
    return [hook(program, "create-symlinks", *args)] if args else []


def enable_cuda_compat(program: str, driver_version: str) -> Edits:
    """Return the hook that puts an image's newer libcuda in front of the driver's."""
    return hook(program, "enable-cuda-compat", f"--host-driver-version={driver_version}")


def update_ldcache(program: str, folders: Iterable[str] = (), ldconfig: str = "") -> Edits:
    """Return the hook that runs ldconfig, or this one, for these folders besides the usual ones."""
    args = ["--ldconfig-path", ldconfig] if ldconfig else []
    args += [word for folder in folders for word in ("--folder", folder)]
    return hook(program, "update-ldcache", *args)


def chmod(program: str, folders: Iterable[str]) -> Edits:
    """Return the hook that lets everybody into folders of nodes; old versions of crun did not."""
    args = [word for folder in folders for word in ("--path", folder)]
    return hook(program, "chmod", "--mode", "755", *args)


def combine(found: list[Edits]) -> list[Edits]:
    """Put hooks of ours into one call, which does one thing after the other."""
    if len(found) < 2:
        return found
    first, *others = found
    args = list(first["args"])
    for entry in others:
        args += [THEN, *_words(entry)]
    return [{**first, "args": args}]


def verb(entry: Edits) -> str:
    """Return what a hook of ours does."""
    return str(_words(entry)[0])


def _words(entry: Edits) -> list[str]:
    """Return a hook's verb and its arguments."""
    args: list[str] = entry["args"]
    return args[2:] if args[0] == "nvidia-ctk" else args[1:]


def is_enabled(name: str, disabled: frozenset[str], enabled: frozenset[str]) -> bool:
    """Whether a hook is wanted: who enables one by name has the last word, ``all`` disables all."""
    if name in enabled:
        return True
    return name not in OFF and name not in disabled and ALL not in disabled
