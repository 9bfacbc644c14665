# SPDX-License-Identifier: Apache-2.0
"""What an engine itself says of its configuration, where it is installed and can be asked.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import shutil

from nvidia_runtime.engines import program

# How an engine says that it does not know the question; then it has no opinion.
UNKNOWN = ("unknown flag", "flag provided but not defined", "unknown command", "unknown shorthand")


def objection(engine: str, path: str, drop_in: str = "", executable: str = "") -> str:
    """Ask an engine about its files; "" is none, or no engine that could be asked.

    dockerd validates since 23.0; before, our schema decides, which has been asked already.
    """
    command = _command(engine, path, drop_in, executable)
    if not command or not shutil.which(command[0]):
        return ""
    variables = {"CONTAINERS_CONF": drop_in or path} if engine == "podman" else {}
    answer = program.ask(command, **variables)
    if not answer.is_refusal or any(word in answer.err + answer.out for word in UNKNOWN):
        return ""
    name = os.path.basename(command[0])
    return f"{name}: {answer.problem.removeprefix(f'{name}: ')}"


def _command(engine: str, path: str, drop_in: str, executable: str) -> list[str]:
    """Return the words that have a file judged, none for one that is not there."""
    if not os.path.exists(drop_in or path if engine == "podman" else path):
        return []
    if engine == "docker":
        return [executable or "dockerd", "--validate", "--config-file", path]
    if engine == "containerd":
        return [executable or "containerd", "--config", path, "config", "dump"]
    if engine == "crio":
        folder = ["--config-dir", os.path.dirname(drop_in)] if drop_in else []
        return [executable or "crio", "--config", path, *folder, "config"]
    return [executable or "podman", "info"]
