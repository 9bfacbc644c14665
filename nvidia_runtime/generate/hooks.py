# SPDX-License-Identifier: Apache-2.0
"""Hooks of ours in container edits: ``nvidia-ctk hook VERB`` or ``nvidia-cdi-hook VERB``."""

from __future__ import annotations

from nvidia_runtime.prepare.verbs import THEN, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Edits = dict[str, Any]

ALL = "all"
NAMES = tuple(verb for verb, flags in VERBS.items() if flags)  # one without does nothing
# Deprecated: only on request.
OFF = ("chmod",)


def hook(program: str, name: str, *args: str) -> Edits:
    """Return the entry of a hook; ``program`` is the absolute path on the host.

    The environment is never empty: runc would pass on its own.
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
    """Return the hook that prefers an image's newer libcuda to the driver's."""
    return hook(program, "enable-cuda-compat", f"--host-driver-version={driver_version}")


def update_ldcache(program: str, folders: Iterable[str] = (), ldconfig: str = "") -> Edits:
    """Return the hook that runs this ldconfig, or the usual one, also for these folders."""
    args = ["--ldconfig-path", ldconfig] if ldconfig else []
    args += [word for folder in folders for word in ("--folder", folder)]
    return hook(program, "update-ldcache", *args)


def chmod(program: str, folders: Iterable[str]) -> Edits:
    """Return the hook that opens folders of nodes to everybody, for old versions of crun."""
    args = [word for folder in folders for word in ("--path", folder)]
    return hook(program, "chmod", "--mode", "755", *args)


def combine(entries: list[Edits]) -> list[Edits]:
    """Return one hook that does the work of several of ours, one after the other."""
    if len(entries) < 2:
        return entries
    first, *others = entries
    args = list(first["args"])
    for entry in others:
        args += [THEN, *_words(entry)]
    return [{**first, "args": args}]


def verb(entry: Edits) -> str:
    """Return the verb of a hook of ours."""
    return str(_words(entry)[0])


def _words(entry: Edits) -> list[str]:
    """Return a hook's verb and its arguments."""
    args: list[str] = entry["args"]
    return args[2:] if args[0] == "nvidia-ctk" else args[1:]


def is_enabled(name: str, disabled: frozenset[str], enabled: frozenset[str]) -> bool:
    """Whether a hook is wanted: an enabled one always, ``all`` disables all others."""
    if name in enabled:
        return True
    return name not in OFF and name not in disabled and ALL not in disabled
