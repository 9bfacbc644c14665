# SPDX-License-Identifier: Apache-2.0
"""All attacks, one after the other, against the programs that are installed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.selftest import stage, ways
from nvidia_runtime.selftest.attack import Attack

RUNTIMES = ("runc", "crun")
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REFUSED = "low-level runtimes refuse such a root"
HARMLESS = Attack(name="T35", title="", why="", tree="", calls=())


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one attack in one way: complaints, if any, or why it was not tried."""

    attack: Attack
    way: str
    complaints: tuple[str, ...] = ()
    skipped: str = ""


def run(folder: str, attacks: list[Attack]) -> Iterator[Verdict]:
    """Try attacks on the programs in ``folder``: by the hook, and by each runtime."""
    runtimes = {name: shutil.which(name, path=FOLDERS) or "" for name in RUNTIMES}
    runtimes = {"no runtime": ways.NOBODY, **runtimes}
    for one in attacks:
        if one.needs_nodes and os.geteuid() != 0:
            yield Verdict(one, "hook", skipped="device nodes need root")
            continue
        if one.linked:
            yield Verdict(one, "hook", skipped=REFUSED)
            continue
        yield _try(one, "hook", folder)
    for name, program in runtimes.items():
        reason = refusal(folder, program)
        for one in attacks:
            if reason or (one.linked and program != ways.NOBODY):
                yield Verdict(one, name, skipped=reason or REFUSED)
                continue
            yield _try(one, name, folder, program, "auto")
            if program != ways.NOBODY:
                yield _try(one, f"{name} with hooks", folder, program, "always")


def _try(one: Attack, way: str, folder: str, runtime: str = "", hooks: str = "") -> Verdict:
    with tempfile.TemporaryDirectory(prefix="nvidia-selftest-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        try:
            scene = stage.Stage(one, place / "s")
            if runtime:
                ended, wanted = ways.by_create(folder, runtime, hooks, scene), one.create
            else:
                ended, wanted = ways.by_hook(folder, scene), one.exit
            return Verdict(one, way, tuple(ways.complaints(scene, ended, wanted)))
        except (OSError, subprocess.SubprocessError, NvidiaRuntimeError) as error:
            return Verdict(one, way, (f"could not be tried: {error}",))


@functools.cache
def refusal(folder: str, program: str) -> str:
    """Say why no container can be created here with a runtime, "" if one can."""
    if not program:
        return "it is not installed"
    if os.geteuid() != 0:
        return "creating containers needs root"
    with tempfile.TemporaryDirectory(prefix="nvidia-selftest-") as scratch:
        ended = ways.by_create(folder, program, "auto", stage.Stage(HARMLESS, Path(scratch, "s")))
    if ended.code == 0:
        return ""
    said = ended.said.strip().splitlines()
    return f"it cannot create a container here: {said[-1] if said else 'it says nothing'}"
