# SPDX-License-Identifier: Apache-2.0
"""The page of the codes that nvidia-ctk doctor prints: what each means, and what to do."""

from __future__ import annotations

from nvidia_runtime.cli.manual import mdoc
from nvidia_runtime.cli.tables.table import paragraphs
from nvidia_runtime.doctor import examination

NAME = "nvidia-container-codes"
INTRODUCTION = """
nvidia-ctk doctor names each thing that it finds by a code, which never changes its meaning, so that
it can be searched for.  'nvidia-ctk doctor CODE' prints what stands here.

An error keeps containers from their GPUs, a warning may do so later or costs something, a note is
good to know.
"""


def page() -> str:
    """Return the page."""
    lines = [
        *mdoc.head(NAME, 7, "codes of nvidia-ctk doctor, their causes and remedies"),
        ".Sh DESCRIPTION",
        *mdoc.paragraphs(paragraphs(INTRODUCTION)),
        ".Sh CODES",
    ]
    for code in examination.codes().values():
        lines.append(f".Ss {code.id}: {code.title} ({code.severity})")
        lines += mdoc.paragraphs([*paragraphs(code.cause), *paragraphs(code.remedy)])
    lines += [".Sh SEE ALSO", ".Xr nvidia-ctk 1 ,", ".Xr nvidia-container-troubleshooting 7"]
    return "\n".join(lines) + "\n"
