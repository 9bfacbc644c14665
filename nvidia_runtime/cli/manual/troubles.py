# SPDX-License-Identifier: Apache-2.0
"""The page of the commonest troubles, made from their table."""

from __future__ import annotations

import textwrap

from nvidia_runtime.cli.manual import mdoc
from nvidia_runtime.cli.manual.trouble_table import TROUBLES, Trouble
from nvidia_runtime.cli.tables.table import paragraphs
from nvidia_runtime.doctor import examination

NAME = "nvidia-container-troubleshooting"
INTRODUCTION = """
Run 'nvidia-ctk doctor' as root first: it looks at the driver, its nodes, CDI specs, engines, our
own files, the kernel and containers that run, and prints what stands in the way with the next
command.  This page lists what engines and programs say where containers do not get their GPUs, the
commonest first, with what doctor prints on a machine with that trouble.  nvidia-container-codes(7)
has all codes.

'nvidia-ctk doctor --fix' mends what can be mended safely, and 'nvidia-ctk explain CONTAINER' says
what a container got, and why.
"""
# Of a page, as mdoc has it.
WIDTH = 74


def page() -> str:
    """Return the page."""
    lines = [
        *mdoc.head(NAME, 7, "what engines say where containers get no GPUs, and what to do"),
        ".Sh DESCRIPTION",
        *mdoc.paragraphs(paragraphs(INTRODUCTION)),
        ".Sh TROUBLES",
    ]
    for trouble in TROUBLES:
        lines += [f".Ss {mdoc.words(trouble.title)}", *_literal(trouble.messages)]
        lines += [".Pp", "doctor prints:", *_literal(tuple(_printed(trouble))), *_remedy(trouble)]
    lines += [".Sh SEE ALSO", ".Xr nvidia-ctk 1 ,", ".Xr nvidia-container-codes 7"]
    return "\n".join(lines) + "\n"


def _remedy(trouble: Trouble) -> list[str]:
    return [".Pp", *mdoc.paragraphs(paragraphs(trouble.remedy))]


def _printed(trouble: Trouble) -> list[str]:
    """Return the lines of doctor, with an empty one between two findings."""
    codes = examination.codes()
    lines: list[str] = []
    for find in trouble.finds:
        code = codes[find.code]
        lines += [""] if lines else []
        lines += [
            f"{find.severity or code.severity} {code.id}: {code.title}",
            f"  {find.what}",
            f"  where  {find.where}",
            f"  next   {find.command}",
        ]
    return lines


def _literal(listed: tuple[str, ...]) -> list[str]:
    """Return lines as they are, those broken that a page has no room for."""
    lines = [".Bd -literal"]
    for line in listed:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        broken = textwrap.wrap(
            line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        lines += map(_escaped, broken or [""])
    return [*lines, ".Ed"]


def _escaped(line: str) -> str:
    """Return a line that mdoc obeys nowhere, with dashes as they are typed."""
    for letter, form in mdoc.SPECIAL.items():
        line = line.replace(letter, form)
    line = line.replace("-", "\\-")
    return f"\\&{line}" if line[:1] in ".'" else line
