# SPDX-License-Identifier: Apache-2.0
"""What a create says of a config.toml: by the very functions that a create asks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.hooks import container_cli
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.sources import find, legacy
from nvidia_runtime.store.snapshot import MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIMES = "nvidia-container-runtime.runtimes"
ENVIRONMENT = "nvidia-container-cli.environment"
# In place of our launcher's path: a copy of the launcher is known by its text.
ANY = "/"
PRESTART = "nvidia-container-runtime-hook.path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence about a setting; ``key`` is "" for the whole file, ``severity`` error or warning.

    ``hint`` is what to do next, "" for nothing.
    """

    key: str
    severity: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line that begins with the severity."""
        return f"{self.severity}: {self.message}" + (f"; {self.hint}" if self.hint else "")


def of_file(path: str, text: str) -> list[Sentence]:
    """Return what a create says of the text of a config.toml."""
    try:
        return of_document(config.decode(text, path), path)
    except NvidiaRuntimeError as error:
        return [of_error("", error)]


def of_document(document: dict[str, Any], path: str) -> list[Sentence]:
    """Return what a create says of a decoded config.toml, the errors first."""
    settings, wrong, odd = config.judge(document, path)
    if wrong:
        said = [
            Sentence(key=key, severity="error", message=what, hint=config.HINT)
            for key, what in wrong
        ]
    else:
        said = _refusals(settings, path)
    return said + [Sentence(key=key, severity="warning", message=what) for key, what in odd]


def _refusals(settings: config.Settings, path: str) -> list[Sentence]:
    """Return what a create refuses although it can be read, and the programs that it misses."""

    def read_environment() -> None:
        for entry in settings[ENVIRONMENT]:
            container_cli.read_entry(entry, path)

    questions: dict[str, Callable[[], object]] = {
        config.LDCONFIG: lambda: config.check_ldconfig(settings, path),
        RUNTIMES: lambda: lowlevel.find(settings[RUNTIMES], os.environ.get("PATH", ""), ANY),
        MODE: lambda: find.check_mode(settings[MODE], path),
        ENVIRONMENT: read_environment,  # where a create leads to legacy mode
    }
    said = []
    for key, ask in questions.items():
        try:
            ask()
        except NvidiaRuntimeError as error:
            said.append(of_error(key, error))
    if settings[MODE] == "legacy" and (missing := legacy.complaint(legacy.hook_path(settings))):
        said.append(Sentence(key=PRESTART, severity="warning", message=missing))
    return said


def of_error(key: str, error: NvidiaRuntimeError) -> Sentence:
    """Return what an error says."""
    return Sentence(key=key, severity="error", message=error.what, hint=error.hint)
