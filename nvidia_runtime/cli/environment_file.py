# SPDX-License-Identifier: Apache-2.0
"""The settings file of the refresh units, in systemd's form (systemd.exec(5), EnvironmentFile=).

So that a refresh by hand has the settings of the unit.
"""

from __future__ import annotations

import os
from typing import Any

from plumbum import cli, local

from nvidia_runtime.cli.command import Command
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

PATH = "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"
FLAG = "--environment-file"
# Other variables, such as PATH, are for the process that systemd starts.
OURS = "NVIDIA_"


class WithEnvironmentFile(Command):
    """A command that a unit of systemd runs with a file of settings."""

    # Only for --help: the file is read before plumbum reads the flags.
    _environment = cli.SwitchAttr([FLAG], str, PATH, help="the settings of the systemd unit")

    def _parse_args(self, argv: list[str]) -> Any:
        return super()._parse_args(apply(argv))


def apply(argv: list[str]) -> list[str]:
    """Put the file's variables into the environment, unless set there; return the other words.

    The file is that of the flag, which must exist, or the usual one.
    """
    path, rest = _given(argv)
    for name, value in _variables(path or PATH, is_needed=bool(path)).items():
        if name.startswith(OURS) and name not in os.environ:
            os.environ[name] = value
            local.env[name] = value  # plumbum's own copy of the environment
    return rest


def parse(text: str) -> dict[str, str]:
    """Return the assignments of a file; other lines are skipped, as systemd does."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.isidentifier() and name.isascii():
            variables[name] = _unquoted(value.strip())
    return variables


def _given(argv: list[str]) -> tuple[str, list[str]]:
    """Return the flag's value and the other words; it is needed before the others are read."""
    for at, word in enumerate(argv):
        if word == "--":
            break
        if word.startswith(f"{FLAG}="):
            return word.partition("=")[2], argv[:at] + argv[at + 1 :]
        if word == FLAG and at + 1 < len(argv):
            return argv[at + 1], argv[:at] + argv[at + 2 :]
    return "", argv


def _variables(path: str, *, is_needed: bool) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return parse(file.read(1 << 20))
    except FileNotFoundError:
        if not is_needed:
            return {}
        raise NvidiaRuntimeError("there is no such file of settings", path) from None
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        raise NvidiaRuntimeError(f"cannot be read: {reason}", path) from None


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote not in ('"', "'") or len(value) < 2 or value[-1] != quote:
        return value
    inner = value[1:-1]
    return inner.replace('\\"', '"').replace("\\\\", "\\") if quote == '"' else inner
