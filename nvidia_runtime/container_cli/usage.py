# SPDX-License-Identifier: Apache-2.0
"""What ``--help``, ``--usage`` and ``--version`` print, in the form of argp(3)."""

from nvidia_runtime import TOOLKIT, __version__
from nvidia_runtime.container_cli.options import COMMANDS, OPTIONAL, PROGRAM, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.options import Option, Table

# Where the phrases begin, and how long a line of the short form may be.
COLUMN, WIDTH = 32, 79


def full(table: "Table") -> str:
    """Return the help: how it is called, what it does, and all options."""
    lines = [f"Usage: {table.program()} [OPTION...] {table.argument}".rstrip(), table.about]
    lines += ["", " Options:", *(_line(option) for option in table.options)]
    if table is PROGRAM:
        lines += ["", " Commands:"]
        lines += [f"  {name}".ljust(COLUMN) + command.about for name, command in COMMANDS.items()]
    return "\n".join([*lines, ""])


def short(table: "Table") -> str:
    """Return the options in brackets."""
    letters = "".join(one.short for one in table.options if one.short and not one.argument)
    parts = [f"[-{letters}]", *(_bracketed(option) for option in table.options)]
    lines, line = [], f"Usage: {table.program()}"
    for part in [*parts, *filter(None, [table.argument])]:
        if len(line) + len(part) >= WIDTH:
            lines.append(line)
            line = " " * 11
        line += f" {part}"
    return "\n".join([*lines, line, ""])


def version() -> str:
    """Return the versions: the library's is the one whose behaviour ours is."""
    return (
        f"cli-version: {TOOLKIT}\nlib-version: {TOOLKIT}\n"
        f"build revision: nvidia-container-runtime-py {__version__}\n"
    )


def _line(option: "Option") -> str:
    letter = f"-{option.short}, " if option.short else "    "
    argument = {WORD: f"={option.argument}", OPTIONAL: f"[={option.argument}]"}.get(option.kind, "")
    names = f"  {letter}--{option.long}{argument}"
    return names.ljust(COLUMN - 1) + f" {option.about}"


def _bracketed(option: "Option") -> str:
    argument = {WORD: f"={option.argument}", OPTIONAL: f"[={option.argument}]"}.get(option.kind, "")
    return f"[--{option.long}{argument}]"
