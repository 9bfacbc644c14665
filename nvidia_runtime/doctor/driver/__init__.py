# SPDX-License-Identifier: Apache-2.0
"""The driver: its kernel modules, its libraries, and whether they are of one version."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.driver import absence, places
from nvidia_runtime.doctor.driver import kernel as driver_kernel
from nvidia_runtime.doctor.driver import libraries as driver_libraries
from nvidia_runtime.doctor.finding import Fine, Step
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import pci, platform
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

CODES = (
    *absence.CODES,
    *driver_libraries.CODES,
    *places.CODES,
    *driver_kernel.CODES,
)


def check(subject: Subject) -> Iterator[Said]:
    """Look at the kernel modules, then at the libraries."""
    yield Step("the driver's kernel modules")
    if platform.is_wsl("") or os.path.lexists(platform.NODE):
        yield Fine("the driver of Windows", is_main=True)
        return
    if platform.is_soc("") and not pci.gpus():
        yield Fine("that of a SoC", is_main=True)
        return
    version = files.loaded_driver() if os.path.exists(absence.VERSION_FILE) else ""
    if not version:
        yield absence.find()
        return
    yield Fine(f"version {version}", is_main=True)
    yield from driver_kernel.check(version)
    yield Step("the driver's libraries")
    yield from driver_libraries.check(subject, version)
    with suppress(NvidiaRuntimeError):  # a folder that cannot be listed, which was said
        yield from driver_kernel.firmware(subject, version)
