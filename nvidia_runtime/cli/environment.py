# SPDX-License-Identifier: Apache-2.0
"""Variables that stand for what the command line leaves out.  Ring: elsewhere."""

from __future__ import annotations

import os

from nvidia_runtime.cli.command import Command, boolean


def text(given: str, variables: tuple[str, ...], default: str) -> str:
    """Return what was given, else the first of the variables that says something."""
    said = [os.environ.get(name, "") for name in variables]
    return given or next(filter(None, said), default)


def flag(command: Command, name: str, is_given: bool, variables: tuple[str, ...]) -> bool:
    """Whether a flag is meant: given, or by a variable unless the command line takes it back."""
    if is_given or name in command.switched_off:
        return is_given
    return any(boolean(os.environ.get(each, ""), f"${each}") for each in variables)
