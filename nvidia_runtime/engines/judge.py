# SPDX-License-Identifier: Apache-2.0
"""What an engine itself says of its configuration, where it is installed and can be asked."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from nvidia_runtime.engines import program

if TYPE_CHECKING:
    from nvidia_runtime.engines.engine import Engine

# How an engine says that it does not know the question; then it has no opinion.
UNKNOWN = ("unknown flag", "flag provided but not defined", "unknown command", "unknown shorthand")


def objection(
    engine: Engine,
    path: str,
    drop_in: str = "",
    executable: str = "",
    *,
    seconds: float = program.SECONDS,
) -> str:
    """Return what an engine objects to in its files, "" also where it cannot be asked."""
    command = [executable or engine.program, *engine.question(path, drop_in)]
    variables = {}
    if engine.config_variable:
        path = drop_in or path
        variables[engine.config_variable] = path
    if not os.path.exists(path) or not shutil.which(command[0]):
        return ""
    answer = program.ask(command, variables, seconds=seconds)
    if not answer.is_refusal or any(word in answer.err + answer.out for word in UNKNOWN):
        return ""
    name = os.path.basename(command[0])
    return f"{name}: {answer.problem.removeprefix(f'{name}: ')}"
