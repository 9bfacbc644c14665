# SPDX-License-Identifier: Apache-2.0
"""An attack, from the files of its folder: an image, calls, and what they must lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.selftest import tree

ATTACKS = Path(__file__).parent / "attacks"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
# Roughly the calls of a generated spec.
USUAL = (
    ("create-symlinks", "--link", f"libcuda.so.1::{LIBRARIES}/libcuda.so"),
    ("enable-cuda-compat", "--host-driver-version=550.1.1"),
    ("update-ldcache", "--folder", LIBRARIES),
    ("update-application-profile",),
    ("disable-device-node-modification",),
)
FIELDS = {
    *("title", "usual", "calls", "mounts", "volumes", "shared", "leased", "linked", "env"),
    *("exit", "create", "seconds", "after", "without"),
}
# In a variable: many numbers, one after the other.
NUMBERS = re.compile(r"\{numbers:(\d+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    ``calls`` are words of nvidia-cdi-hook, one call each; ``mounts`` are files that the container
    gets, ``shared`` those of a folder like /tmp, where a user's link to the host's folder is by
    now, and ``volumes`` the user's own, each a path of the tree and one of the container; ``env``
    is the image's environment.  Of ``leased`` files another process holds the leases.  A root that
    is ``linked`` is a link to the host's folder: low-level runtimes refuse it, so only what is done
    before them is tried.  All features are on but those that it does ``without``.  ``exit`` and
    ``create`` are the exit codes that the calls and a create must have, -1 where 0 and 1 are both
    right.  ``after`` says what a path of the container must be then: ``absent``, ``file``,
    ``folder``, or ``-> TARGET``.
    """

    name: str
    title: str
    why: str
    tree: str
    calls: tuple[tuple[str, ...], ...]
    mounts: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    leased: tuple[str, ...] = ()
    linked: bool = False
    env: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    exit: int = 0
    create: int = 0
    seconds: float = 10.0
    after: dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """Return T and two digits."""
        return self.name[:3]

    @property
    def needs_nodes(self) -> bool:
        """Whether the image has device nodes, for which CAP_MKNOD is needed."""
        return tree.has_nodes(self.tree)


def read_all(folder: Path = ATTACKS) -> list[Attack]:
    """Read all attacks, in the order of their names."""
    return [read(below) for below in sorted(folder.iterdir()) if below.is_dir()]


def read(folder: Path) -> Attack:
    """Read an attack's folder."""
    import tomllib  # slow, and the help of nvidia-ctk does without

    document: dict[str, Any] = tomllib.loads((folder / "attack.toml").read_text("utf-8"))
    if unknown := document.keys() - FIELDS:
        raise NvidiaRuntimeError(f"unknown fields {sorted(unknown)}", where=f"{folder}/attack.toml")
    usual = USUAL if document.get("usual", True) else ()
    return Attack(
        name=folder.name,
        title=document["title"],
        why=(folder / "why.txt").read_text("utf-8").strip(),
        tree=(folder / "tree").read_text("utf-8"),
        calls=(*usual, *map(tuple, document.get("calls", ()))),
        mounts=tuple(document.get("mounts", ())),
        shared=tuple(document.get("shared", ())),
        volumes=tuple((source, path) for source, path in document.get("volumes", ())),
        leased=tuple(document.get("leased", ())),
        linked=document.get("linked", False),
        env=tuple(NUMBERS.sub(_numbers, entry) for entry in document.get("env", ())),
        without=tuple(document.get("without", ())),
        exit=document.get("exit", 0),
        create=document.get("create", document.get("exit", 0)),
        seconds=document.get("seconds", 10.0),
        after=document.get("after", {}),
    )


def _numbers(match: re.Match[str]) -> str:
    return ",".join(map(str, range(int(match[1]))))
