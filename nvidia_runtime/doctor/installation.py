# SPDX-License-Identifier: Apache-2.0
"""Our own programs and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Code, Said
    from nvidia_runtime.doctor.subject import Subject

CODES: tuple[Code, ...] = ()


def check(subject: Subject) -> Iterator[Said]:
    """Look."""
    del subject
    yield from ()
