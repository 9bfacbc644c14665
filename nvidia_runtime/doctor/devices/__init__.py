# SPDX-License-Identifier: Apache-2.0
"""Device nodes, their numbers and links, and what each GPU says of itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.devices import gpus, mig, soc, users
from nvidia_runtime.doctor.devices import nodes as devices_nodes
from nvidia_runtime.doctor.driver import absence
from nvidia_runtime.doctor.finding import Step
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import device_nodes, pci, platform
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

CODES = (
    *devices_nodes.CODES,
    *users.CODES,
    *gpus.CODES,
    *mig.CODES,
    *soc.CODES,
)


def check(subject: Subject) -> Iterator[Said]:
    """Look at nodes first, at last ask the GPUs: that may hang."""
    yield Step("device nodes")
    machine = Machine(Driver(subject.driver_root or "/"))
    if platform.is_wsl("") or os.path.lexists(platform.NODE):
        yield from soc.windows(machine)
        return
    if platform.is_soc("") and subject.mode in ("", platform.CSV):
        yield from soc.lists(subject)
        if not pci.gpus():
            return
    if not os.path.exists(absence.VERSION_FILE):
        return  # the driver's own area says why
    try:
        numbers = device_nodes.majors()
    except NvidiaRuntimeError:
        numbers = {}
    if "nvidia" in numbers:
        yield from devices_nodes.check(machine, numbers)
    yield from mig.check(machine, numbers)
    yield Step("who may use device nodes")
    yield from users.check(machine)
    yield from gpus.check(machine, numbers)
