# SPDX-License-Identifier: Apache-2.0
"""The help of a command, made from its table: 80 columns, its own switches first.

Nothing that stands in one word is broken, so that variables can be searched for.
"""

from __future__ import annotations

from nvidia_runtime.cli import values
from nvidia_runtime.cli.tables import root
from nvidia_runtime.cli.tables.table import paragraphs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nvidia_runtime.cli.tables.table import Command, Switch

WIDTH = 79
TEXT_AT = 26
NEAR = 6  # where a word is too long for that


def text(chain: Sequence[Command], names: Sequence[str]) -> str:
    """Return the help of the last of the commands, which are nested; ``names`` as written."""
    command, name = chain[-1], " ".join(names)
    lines = [*wrapped(command.summary, 0), "", f"Usage: {usage(command, name)}"]
    if len(chain) > 1:
        lines += _switches(command)
        for paragraph in paragraphs(command.more):
            lines += ["", *wrapped(paragraph, 0)]
    if command.examples:
        lines += ["", "Examples:", *_examples(command)]
    if command.below:
        lines += ["", "Commands:", *_commands(command)]
    lines += ["", _global()]
    return "\n".join(lines) + "\n"


def usage(command: Command, name: str) -> str:
    """Return a command's line: its name, and what may follow."""
    parts = [name]
    if command.below:
        parts.append("COMMAND" if not command.main else "[COMMAND]")
    if not command.is_raw:
        parts.append("[OPTIONS]")
    return " ".join([*parts, *filter(None, [command.words])])


def sentence(switch: Switch) -> str:
    """Return what a switch means, and its default unless that is said."""
    said = switch.text
    if "{values}" in said:
        said = said.replace("{values}", ", ".join(values.of(switch.values)))
    if switch.default == "" or "default" in said:
        return said
    return f"{said}; default: {switch.default}"


def head(switch: Switch) -> str:
    """Return the names of a switch, and the word for its value."""
    names = ", ".join(switch.names)
    return f"{names}={switch.argument}" if switch.argument else names


def wrapped(words: str, indent: int, width: int = WIDTH) -> list[str]:
    """Break a text into lines between words; a longer word has a line of its own."""
    lines: list[str] = []
    line = ""
    for word in words.split():
        if line and indent + len(line) + 1 + len(word) > width:
            lines.append(" " * indent + line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, " " * indent + line]


def _switches(command: Command) -> Iterator[str]:
    if command.switches:
        yield from ("", "Options:")
    for switch in command.switches:
        variables = ", ".join(f"${name}" for name in switch.variables)
        said = f"{sentence(switch)} [{variables}]" if variables else sentence(switch)
        yield from _row(head(switch), said, TEXT_AT)


def _commands(command: Command) -> Iterator[str]:
    at = max(len(below.name) for below in command.below) + 4
    for below in command.below:
        if not below.is_rare:
            yield from _row(below.name, below.summary, at)
    if rare := [below.name for below in command.below if below.is_rare]:
        yield from _row("and", ", ".join(rare), at)


def _examples(command: Command) -> Iterator[str]:
    width = max(len(words) for words, _ in command.examples)
    for words, what in command.examples:
        line = f"  {words.ljust(width)}  {what}"
        yield line if len(line) <= WIDTH else f"  {words}"


def _row(name: str, said: str, at: int) -> list[str]:
    """Return a name with its text beside it, or below it where the name is long."""
    lines = wrapped(said, at)
    if max(map(len, lines)) > WIDTH:
        lines = wrapped(said, NEAR)
    first = wrapped(name, 2)
    if len(first[0]) + 2 <= at:
        return [first[0].ljust(at) + lines[0].lstrip(), *lines[1:]]
    return [*first, *lines]


def _global() -> str:
    names = (head(switch).replace(", ", "|") for switch in root.ROOT.switches)
    return f"GLOBAL OPTIONS: {' '.join(names)}"
