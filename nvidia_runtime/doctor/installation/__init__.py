# SPDX-License-Identifier: Apache-2.0
"""Our own programs and files, and the programs that they call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime import __version__
from nvidia_runtime.doctor.finding import Fine, Step
from nvidia_runtime.doctor.installation import programs, runtime, units
from nvidia_runtime.doctor.installation import settings as install_settings
from nvidia_runtime.doctor.installation import state as install_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Code, Said
    from nvidia_runtime.doctor.subject import Subject

PARTS = (install_settings, runtime, programs, install_state, units)
CODES: tuple[Code, ...] = tuple(code for part in PARTS for code in part.CODES)


def check(subject: Subject) -> Iterator[Said]:
    """Look at settings and files first: what runs programs may hang."""
    yield Step("the settings")
    yield Fine(f"version {__version__}", is_main=True)
    yield from install_settings.check(subject)
    yield Step("the state folder")
    yield from install_state.check(subject)
    yield from programs.check(subject)
    yield from runtime.check(subject)
    yield from units.check()
