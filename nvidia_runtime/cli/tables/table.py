# SPDX-License-Identifier: Apache-2.0
"""A command and a switch, as values.

Plain classes: ``nvidia-ctk --help`` waits for this import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT, NUMBER, INTEGER, BOOLEAN = "text", "number", "integer", "boolean"


class Switch:
    """A switch; without an ``argument``, the word that stands for its value, it is a flag.

    One of the kind `BOOLEAN` is a flag whose value is "true", "false", or its default.

    ``field`` is the attribute of the command's class.  ``default`` is shown unless it is "".
    ``choices`` are the only values that are taken, ``values`` names what completion offers
    (`values`), and replaces ``{values}`` in the text.  ``variables`` say the same in the
    environment, the first that is set.  ``implies`` is another switch with its value, for which
    this one is short.
    """

    __slots__ = (
        "argument",
        "choices",
        "default",
        "field",
        "implies",
        "is_list",
        "is_needed",
        "kind",
        "names",
        "text",
        "values",
        "variables",
    )

    def __init__(
        self,
        field: str,
        names: str,
        text: str,
        argument: str = "",
        *,
        kind: str = TEXT,
        default: str | float = "",
        choices: tuple[str, ...] = (),
        values: str = "",
        variables: tuple[str, ...] = (),
        is_list: bool = False,
        is_needed: bool = False,
        implies: tuple[Switch, str] | None = None,
    ) -> None:
        self.field = field
        self.names = tuple(names.split())
        self.text = text
        self.argument = argument
        self.kind = kind
        self.default = default
        self.choices = choices
        self.values = values
        self.variables = variables
        self.is_list = is_list
        self.is_needed = is_needed
        self.implies = implies

    @property
    def name(self) -> str:
        """The first name, with which it is canonical."""
        return self.names[0]


class Command:
    """A command: a program of its own, a group of others, or both.

    ``main`` is its class, in `cli`.  ``words`` are its arguments as the usage shows them, and
    ``values`` names what completion offers for them.  ``more`` are paragraphs of its help and the
    manual, ``notes`` of the manual only.  ``examples`` are command lines with a word on each.
    ``section`` is the part of the manual that it begins.  With ``is_raw`` its words are those of
    another program.  One that ``is_rare`` is only named in the help of the command above it.
    """

    __slots__ = (
        "below",
        "examples",
        "is_rare",
        "is_raw",
        "main",
        "more",
        "names",
        "notes",
        "section",
        "summary",
        "switches",
        "values",
        "words",
    )

    def __init__(
        self,
        names: str,
        summary: str,
        main: str = "",
        *,
        words: str = "",
        values: str = "",
        switches: Sequence[Switch] = (),
        below: Sequence[Command] = (),
        more: str = "",
        notes: str = "",
        examples: Sequence[tuple[str, str]] = (),
        section: str = "",
        is_raw: bool = False,
        is_rare: bool = False,
    ) -> None:
        self.names = tuple(names.split())
        self.summary = summary
        self.main = main
        self.words = words
        self.values = values
        self.switches = tuple(switches)
        self.below = tuple(below)
        self.more = more
        self.notes = notes
        self.examples = tuple(examples)
        self.section = section
        self.is_raw = is_raw
        self.is_rare = is_rare

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]

    def find(self, word: str) -> Command | None:
        """Return the command below this one that has a name."""
        return next((command for command in self.below if word in command.names), None)

    def switch(self, name: str) -> Switch | None:
        """Return the switch with a name, dashes included."""
        return next((switch for switch in self.switches if name in switch.names), None)


def paragraphs(text: str) -> list[str]:
    """Split a text at blank lines; each paragraph becomes one line."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
