# SPDX-License-Identifier: Apache-2.0
"""The kernel, its control groups, its log, its security modules, file systems, and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.doctor import (
    system_denials,
    system_groups,
    system_kernel,
    system_log,
    system_places,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

# What may hang comes last.
PARTS = (system_kernel, system_denials, system_log, system_places, system_groups)
CODES = tuple(code for part in PARTS for code in part.CODES)


def check(subject: Subject) -> Iterator[Said]:
    """Look at each part."""
    for part in PARTS:
        yield from part.check(subject)
