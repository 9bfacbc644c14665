# SPDX-License-Identifier: Apache-2.0
"""The words of a command line, read by the tables: which command, with which switches and words.

As the toolkit has it: switches stand anywhere up to ``--``, those of nvidia-ctk itself behind any
command, too; the last of a repeated one counts, whichever of its names it has.
"""

from __future__ import annotations

from nvidia_runtime import document
from nvidia_runtime.cli.tables import root
from nvidia_runtime.cli.tables.common import HELP, VERSION
from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nvidia_runtime.cli.tables.table import Command, Switch

BOOLEANS = {"": False} | dict.fromkeys(document.TRUE, True) | dict.fromkeys(document.FALSE, False)
HELP_WORDS = ("help", "h")


class Call:
    """What the words say.

    ``chain`` are the commands from nvidia-ctk to the one that is meant, ``names`` as they were
    written, ``given`` the values of the switches of each; a flag has "true" or "false".
    """

    __slots__ = ("chain", "given", "names", "wants_help", "wants_version", "words")

    def __init__(self, program: Command) -> None:
        self.chain = [program]
        self.names = [program.name]
        self.given: list[dict[Switch, list[str]]] = [{}]
        self.words: list[str] = []
        self.wants_help = False
        self.wants_version = False

    @property
    def command(self) -> Command:
        """The command that is meant."""
        return self.chain[-1]

    @property
    def name(self) -> str:
        """Its name in full."""
        return " ".join(self.names)

    def enter(self, command: Command, word: str) -> None:
        """Go down to a command."""
        self.chain.append(command)
        self.names.append(word)
        self.given.append({})

    def find(self, name: str) -> tuple[int, Switch] | None:
        """Return a switch of the command or of nvidia-ctk, and where in the chain it belongs."""
        for level in (len(self.chain) - 1, 0):
            if switch := self.chain[level].switch(name):
                return level, switch
        return None

    def flags(self) -> list[str]:
        """Return the names of all switches that may stand here."""
        return [
            name for at in (-1, 0) for switch in self.chain[at].switches for name in switch.names
        ]


def read(argv: Sequence[str], program: Command = root.ROOT) -> Call:
    """Read the words.

    Raises `NvidiaRuntimeError` for words that no command takes.
    """
    call = Call(program)
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            call.words += rest
            break
        if word[:1] == "-" and word != "-":
            _read_flag(call, word, rest)
        elif not call.command.below:
            call.words.append(word)
        elif word in HELP_WORDS:
            call.wants_help = True
        elif below := call.command.find(word):
            call.enter(below, word)
            if below.is_raw:
                call.words = rest
                break
        else:
            raise _unknown_command(call, word)
    return call


def complete(call: Call, environment: Mapping[str, str]) -> None:
    """Add what variables say; raises `NvidiaRuntimeError` for what is missing then."""
    _add_variables(call, environment)
    for switch in call.command.switches:
        if switch.is_needed and switch not in call.given[-1]:
            what = f"flag {switch.name}={switch.argument} is missing"
            raise NvidiaRuntimeError(what, hint=_help_hint(call))


def _add_variables(call: Call, environment: Mapping[str, str]) -> None:
    """Add the values of variables, for switches that the words leave out."""
    for command, given in zip(call.chain, call.given, strict=True):
        for switch in command.switches:
            values = [(name, environment[name]) for name in switch.variables if name in environment]
            if not values or switch in given:
                continue
            name, value = next((pair for pair in values if pair[1]), values[0])
            if not switch.argument:
                value = "true" if boolean(value, f"${name}") else "false"
            _check_choice(switch, f"${name}", value)
            given[switch] = [value]


def boolean(text: str, where: str) -> bool:
    """Read a boolean as the toolkit does; an empty text is false."""
    if text not in BOOLEANS:
        what = f"must be true or false, not {text!r}"
        raise NvidiaRuntimeError(what, where=where, hint="or leave it out")
    return BOOLEANS[text]


def suggestion(word: str, names: Iterable[str], form: str = "{}") -> str:
    """Return the beginning of a hint at the name that resembles a word, "" if none does."""
    import difflib  # only for what is wrong

    near = difflib.get_close_matches(word, list(names), 1)
    return f"did you mean {form.format(near[0])}? " if near else ""


def _read_flag(call: Call, word: str, rest: list[str]) -> None:
    """Read a switch, and its value from the rest of the words."""
    dashes = "--" if word.startswith("--") else "-"
    body, equals, value = word[len(dashes) :].partition("=")
    place = call.find(f"--{body}") if len(body) > 1 else call.find(f"-{body}")
    if not place and dashes == "-" and (place := call.find(word[:2])):  # -oFILE, or -id
        if place[1].argument:
            equals, value = "=", word[2:]
        else:
            rest.insert(0, f"-{word[2:]}")
            equals, value = "", ""
    if not place:
        raise _unknown_flag(call, f"{dashes}{body}")
    level, switch = place
    given = call.given[level]
    if switch.argument:
        if not equals:
            if not rest:
                raise NvidiaRuntimeError(f"flag {word} has no value")
            value = rest.pop(0)
        _check_choice(switch, switch.name, value)
        given[switch] = [*given.get(switch, ()), value] if switch.is_list else [value]
        return
    is_set = not equals or boolean(value, f"{dashes}{body}")
    if switch is HELP:
        call.wants_help = is_set
    elif switch is VERSION:
        call.wants_version = is_set
    elif switch.implies:
        if is_set:
            given[switch.implies[0]] = [switch.implies[1]]
    else:
        given[switch] = ["true" if is_set else "false"]


def _check_choice(switch: Switch, where: str, value: str) -> None:
    if switch.choices and value not in switch.choices:
        what = f"{where} must be {' or '.join(switch.choices)}, not {value!r}"
        raise NvidiaRuntimeError(what)


def _unknown_command(call: Call, word: str) -> NvidiaRuntimeError:
    names = [name for command in call.command.below for name in command.names]
    hint = suggestion(word, names, f"'{call.name} {{}}'")
    hint += f"'{call.name} --help' lists the commands"
    # The toolkit's sentence, by which scripts tell whether a command exists.
    what = f"No help topic for '{word}'"
    return NvidiaRuntimeError(what, hint=hint, exit_code=root.UNKNOWN_COMMAND)


def _unknown_flag(call: Call, flag: str) -> NvidiaRuntimeError:
    flags = [name for name in call.flags() if name.startswith("--")]
    hint = suggestion(flag, flags) + _help_hint(call)
    return NvidiaRuntimeError(f"unknown flag {flag}", hint=hint)


def _help_hint(call: Call) -> str:
    """Return the hint at the help of the command that is meant."""
    return f"'{call.name} --help' lists its flags and arguments"
