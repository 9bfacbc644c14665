# SPDX-License-Identifier: Apache-2.0
"""Warnings in records: containers that run, but were told that something is not as asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nvidia_runtime.doctor.finding import NOTE, Code, Finding
from nvidia_runtime.errors import short
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

WARNED = Code(
    "NCT-0708",
    NOTE,
    "a running container was started with a warning",
    """
    Something optional could not be had, or a wish was not granted, which an engine's log says once
    and nobody reads: a read-only volume at /etc/nvidia or over the loader's configuration, a
    variable that the mode or the rights of the container do not allow, a requirement that the
    driver does not meet, a file that the disk had no room for.
    """,
    """
    'nvidia-ctk explain CONTAINER' shows all warnings of a container.  Change its volumes, variables
    or rights and start it anew, or leave it: it runs.
    """,
)


def check(warned: list[tuple[str, Any]]) -> Iterator[Finding]:
    """Tell of the containers, by their names, that have warnings; the first one in full."""
    sentences = [(name, listed) for name, listed in warned if isinstance(listed, list) and listed]
    if not sentences:
        return
    name, listed = sentences[0]
    more = f" (and {len(listed) - 1} more)" if listed[1:] else ""
    others = f"; so were {len(sentences) - 1} others" if sentences[1:] else ""
    yield Finding(
        code=WARNED,
        what=f"{name}: {short(str(listed[0]))}{more}{others}",
        where=f"its record in {files.state_folder()}/containers",
        command=f"nvidia-ctk explain {name}",
    )
