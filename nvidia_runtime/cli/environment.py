# SPDX-License-Identifier: Apache-2.0
"""Variables that stand for what the command line leaves out."""

from __future__ import annotations

import os

from nvidia_runtime.cli.command import Command, boolean


def text(given: str, variables: tuple[str, ...], default: str) -> str:
    """Return the value of the flag, else of the first variable that is not empty."""
    values = (os.environ.get(name, "") for name in variables)
    return given or next(filter(None, values), default)


def flag(command: Command, name: str, is_given: bool, variables: tuple[str, ...]) -> bool:
    """Whether a flag is set: given, or by a variable unless the command line switches it off."""
    if is_given or name in command.switched_off:
        return is_given
    return any(boolean(os.environ.get(variable, ""), f"${variable}") for variable in variables)
