# SPDX-License-Identifier: Apache-2.0
"""Our own programs and files, and the programs that they call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime import __version__
from nvidia_runtime.doctor import (
    install_programs,
    install_runtime,
    install_settings,
    install_state,
    install_units,
)
from nvidia_runtime.doctor.finding import Fine, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Code, Said
    from nvidia_runtime.doctor.subject import Subject

PARTS = (install_settings, install_runtime, install_programs, install_state, install_units)
CODES: tuple[Code, ...] = tuple(code for part in PARTS for code in part.CODES)


def check(subject: Subject) -> Iterator[Said]:
    """Look at settings and files first: what runs programs may hang."""
    yield Step("the settings")
    yield Fine(f"version {__version__}", is_main=True)
    yield from install_settings.check(subject)
    yield Step("the state folder")
    yield from install_state.check(subject)
    yield from install_programs.check(subject)
    yield from install_runtime.check(subject)
    yield from install_units.check()
