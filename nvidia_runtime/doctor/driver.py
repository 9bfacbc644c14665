# SPDX-License-Identifier: Apache-2.0
"""The driver: its kernel module, its libraries, and whether they are of one version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, Code, Finding, Fine, Step
from nvidia_runtime.host import platform
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

VERSION_FILE = "/proc/driver/nvidia/version"

NOT_LOADED = Code(
    "NCT-0101",
    ERROR,
    "the driver's kernel module is not loaded",
    """
    /proc/driver/nvidia/version is not there.  The driver is not installed, was not built for this
    kernel (DKMS after a kernel update), is not signed where Secure Boot wants that, or nouveau has
    the GPU.
    """,
    """
    'modprobe nvidia' says why it cannot be loaded, or 'dmesg' does.  After an update of the kernel
    or the driver a restart of the machine is the simplest.
    """,
)
CODES = (NOT_LOADED,)


def check(subject: Subject) -> Iterator[Said]:
    """Look at the kernel module and the libraries."""
    del subject
    yield Step("the driver's version")
    if platform.is_wsl("") or os.path.exists(VERSION_FILE):
        yield Fine(f"version {files.loaded_driver() or 'of Windows'}", is_main=True)
    else:
        what = "there is no module 'nvidia'"
        yield Finding(code=NOT_LOADED, what=what, where=VERSION_FILE, command="modprobe nvidia")
