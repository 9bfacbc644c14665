# SPDX-License-Identifier: Apache-2.0
"""The programs of our runtimes, as engines' files name them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fix
from nvidia_runtime.engines import difference
from nvidia_runtime.engines.difference import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said

ELF = b"\x7fELF"
SNAPS = ("/snap/", "/var/snap/")

GONE = Code(
    "NCT-0415",
    ERROR,
    "the runtime's program is not where the engine looks for it",
    """
    The engine's files name a program for the runtime that is gone, may not be executed, or, named
    without a folder, is in none of those of the daemon's PATH.  Containers fail: "failed to create
    shim task: OCI runtime create failed: unable to retrieve OCI runtime error", "fork/exec
    /usr/bin/nvidia-container-runtime: no such file or directory", "exec:
    "nvidia-container-runtime": executable file not found in $PATH".

    The package was removed and its configuration was not, it was installed in another place, or
    nvidia-container-runtime of the GPU operator in /usr/local/nvidia/toolkit went with it.
    """,
    """
    'nvidia-ctk runtime configure --runtime=ENGINE' names the program that is here; without it,
    'nvidia-ctk runtime unconfigure --runtime=ENGINE' takes the runtime out.
    """,
)
NVIDIAS = Code(
    "NCT-0416",
    NOTE,
    "an engine uses another program of that name",
    """
    The engine's files name an nvidia-container-runtime that is a compiled program, as NVIDIA
    Container Toolkit's is, although this one is installed, too.  Both give containers their GPUs;
    what nvidia-ctk says of settings, records and containers is of this one.
    """,
    """
    'nvidia-ctk runtime configure --runtime=ENGINE --nvidia-runtime-path=PATH' names the one that
    is meant.
    """,
)
CONFINED = Code(
    "NCT-0417",
    ERROR,
    "the docker of the snap cannot run the runtime",
    """
    Programs of a snap are confined: the docker of the snap runs none outside of snaps, and sees no
    /usr/bin of the machine.  A runtime there fails with "no such file or directory" or "permission
    denied".
    """,
    """
    Put the runtime's files into /var/snap/docker/common, and name them there by
    --nvidia-runtime-path; or 'snap remove docker' and install the docker of your distribution,
    which is what most do.
    """,
)
CODES = (GONE, NVIDIAS, CONFINED)


def missing(facts: Facts) -> dict[str, str]:
    """Return those of our runtimes whose program is not there, each with its program."""
    return {name: path for name, path in _named(facts).items() if not _found(facts, name)}


def check(facts: Facts, program: str) -> Iterator[Said]:
    """Look at the programs; ``program`` is our nvidia-ctk."""
    if not facts.is_seen:
        return
    for name, path in missing(facts).items():
        yield _gone(facts, name, path)
    for name in _named(facts):
        path = _found(facts, name)
        if facts.daemon.profile.name == "snap-docker" and path and not path.startswith(SNAPS):
            what = f"{path} is the program of {name}, outside of snaps"
            yield Finding(code=CONFINED, what=what, where=facts.daemon.config, engine="docker")
        elif _is_compiled(path) and os.path.exists(_beside(program)):
            what = f"{name} of {facts.engine} is {path}; ours is {_beside(program)}"
            yield Finding(code=NVIDIAS, what=what, where=facts.daemon.config, engine=facts.engine)


def configuring(facts: Facts) -> Fix:
    """Return what writes the runtime into an engine's files."""
    return Fix(
        words=("runtime", "configure", f"--runtime={facts.engine}"),
        undo=("runtime", "unconfigure", f"--runtime={facts.engine}"),
    )


def _named(facts: Facts) -> dict[str, str]:
    """Return our runtimes of files and, for docker, of flags."""
    return {**facts.programs, **facts.written}


def _gone(facts: Facts, name: str, path: str) -> Finding:
    place = "is not there, or may not be executed"
    if "/" not in path:
        place = f"is in no folder of its PATH ({facts.search})"
    engine = facts.engine
    is_default = facts.default == name
    default = ", the default" if is_default else ""
    has_another_way = bool(facts.cdi) and facts.has_spec and not is_default
    return Finding(
        code=GONE,
        what=f"{engine} is to run {path} for {name}{default}, which {place}",
        where=facts.daemon.config,
        command=f"nvidia-ctk runtime configure --runtime={engine}",
        engine=engine,
        severity=WARNING if has_another_way else "",
        fix=configuring(facts),
    )


def _found(facts: Facts, name: str) -> str:
    """Return where the program of a runtime is, "" where it is not: podman looks at several."""
    entry = difference.at(facts.document, (*facts.places.runtimes, name, *facts.places.program))
    if entry is ABSENT:  # of a flag, or containerd's table of the default runtime
        entry = _named(facts)[name]
    paths = entry if isinstance(entry, list) else [entry]
    found_paths = (shutil.which(path, path=facts.search) for path in paths if isinstance(path, str))
    return next(filter(None, found_paths), "")


def _is_compiled(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(ELF)) == ELF
    except OSError:
        return False


def _beside(program: str) -> str:
    return os.path.join(os.path.dirname(os.path.realpath(program)), "nvidia-container-runtime")
