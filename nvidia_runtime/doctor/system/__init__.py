# SPDX-License-Identifier: Apache-2.0
"""The kernel, its control groups, its log, its security modules, file systems, and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.doctor.system import denials, groups, kernel, log, places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

# What may hang comes last.
PARTS = (kernel, denials, log, places, groups)
CODES = tuple(code for part in PARTS for code in part.CODES)


def check(subject: Subject) -> Iterator[Said]:
    """Look at each part."""
    for part in PARTS:
        yield from part.check(subject)
