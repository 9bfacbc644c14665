# SPDX-License-Identifier: Apache-2.0
"""What the stories of configured engines share: nvidia-ctk, the files, and a look at the nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import ctk

from . import processes

# The nodes of a container that asks for the first GPU, and how it lists them.
SEEN = "/dev/nvidia0\n/dev/nvidiactl\n"
LOOK = ("find", "/dev", "-name", "nvidia*")


def tell(folder: Path, verb: str, engine: str, *flags: str | Path, **environment: str) -> str:
    """Run `nvidia-ctk runtime VERB` with a journal of its own; return what it said."""
    words = ("runtime", verb, f"--runtime={engine}", *flags)
    got = ctk.run(*words, STATE_DIRECTORY=os.fspath(folder / "journal"), **environment)
    assert got.code == 0, got.err
    return got.err


def status(engine: str, **environment: str) -> dict[str, Any]:
    """Ask `nvidia-ctk runtime status` for one engine."""
    got = ctk.run("runtime", "status", f"--runtime={engine}", "--format=json", **environment)
    states: list[dict[str, Any]] = json.loads(got.out)
    assert len(states) == 1
    return states[0]


def tree(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder but what daemons and nvidia-ctk keep there for themselves."""
    return {
        os.fspath(path.relative_to(folder)): path.read_bytes()
        for pattern in ("*.json", "*.toml", "*.conf", "conf.d/*", "containers.conf.d/*")
        for path in folder.glob(pattern)
    }


def lines(words: tuple[str, ...], *, env: Mapping[str, str] | None = None) -> str:
    """Run a container that lists its nodes; return them in order."""
    return "".join(sorted(processes.succeed([*words, *LOOK], env=env).splitlines(keepends=True)))
