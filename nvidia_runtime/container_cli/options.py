# SPDX-License-Identifier: Apache-2.0
"""The words of ``nvidia-container-cli``, read as its argp(3) reads them.

A long option may be shortened as far as it is the only one; its argument follows ``=`` or is the
next word.  Short ones may stand together.  Options before the command are the program's, those
behind it the command's, in any order with its argument.
"""

from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "nvidia-container-cli"
# What follows an option: nothing, a word, or a word only behind "=".
NONE, WORD, OPTIONAL = "none", "word", "optional"


class Option:
    """An option: its names, what follows it and how that is called, a phrase for the help."""

    __slots__ = ("about", "argument", "kind", "long", "short")

    def __init__(self, long: str, short: str, argument: str, about: str) -> None:
        self.long = long
        self.short = short
        self.argument = argument[1:-1] if argument[:1] == "[" else argument
        self.kind = OPTIONAL if argument.startswith("[") else WORD if argument else NONE
        self.about = about


class Table:
    """The options of the program or a command, what it does, and its own argument."""

    __slots__ = ("about", "argument", "name", "options")

    def __init__(self, name: str, about: str, argument: str, options: tuple[Option, ...]) -> None:
        self.name = name
        self.about = about
        self.argument = argument
        self.options = (*options, *STANDARD)

    def program(self) -> str:
        """Return how messages and the help name it."""
        return f"{NAME} {self.name}".rstrip()


STANDARD = (
    Option("help", "?", "", "print this list"),
    Option("usage", "", "", "print the options, in short"),
    Option("version", "V", "", "print the version"),
)
DEVICES = Option("device", "d", "ID", "indices, UUIDs or PCI addresses of GPUs, or MIG devices")
COMPAT32 = Option("compat32", "", "", "libraries for programs of 32 bits, too")
MIG_CONFIG = Option("mig-config", "", "ID", "all: let MIG devices be made")
MIG_MONITOR = Option("mig-monitor", "", "ID", "all: let MIG devices be watched")
IMEX = Option("imex-channel", "", "CHANNEL", "numbers of IMEX channels, or all")
WITHOUT = (
    Option("no-persistenced", "", "", "without the socket of nvidia-persistenced"),
    Option("no-fabricmanager", "", "", "without the socket of the fabric manager"),
    Option("no-gsp-firmware", "", "", "without the firmware of the GPU's own processor"),
)
PROGRAM = Table(
    "",
    "Gives a container that exists its NVIDIA GPUs, and says what this machine has.",
    "COMMAND [ARG...]",
    (
        Option("debug", "d", "FILE", "write a log"),
        Option("load-kmods", "k", "", "load the kernel modules"),
        Option("ldcache", "l", "FILE", "the loader's cache of the driver root"),
        Option("no-create-imex-channels", "", "", "make no node of an IMEX channel"),
        Option("no-pivot", "n", "", "accepted: no root is changed"),
        Option("root", "r", "PATH", "folder of the driver"),
        Option("user", "u", "[UID[:GID]]", "who asks the driver"),
    ),
)
INFO = Table(
    "info",
    "Say which driver and which GPUs this machine has.",
    "",
    (Option("csv", "", "", "as comma-separated values"),),
)
LIST = Table(
    "list",
    "List what a container with GPUs needs of this machine: all of it, or what is chosen.",
    "",
    (
        Option("binaries", "b", "", "programs of the driver"),
        COMPAT32,
        DEVICES,
        Option("firmwares", "f", "", "firmware of the GPU's own processor"),
        IMEX,
        Option("ipcs", "i", "", "sockets of the driver's services"),
        Option("libraries", "l", "", "libraries of the driver"),
        MIG_CONFIG,
        MIG_MONITOR,
        *WITHOUT,
    ),
)
CONFIGURE = Table(
    "configure",
    "Give a container its GPUs: it is made, but its program is not started yet.",
    "ROOTFS",
    (
        COMPAT32,
        Option("compute", "c", "", "capability compute"),
        Option("cuda-compat-mode", "", "MODE", "the image's CUDA: ldconfig, mount or disabled"),
        DEVICES,
        Option("display", "D", "", "capability display"),
        Option("graphics", "g", "", "capability graphics"),
        IMEX,
        Option("ldconfig", "l", "PATH", "accepted: no program is run in a container"),
        MIG_CONFIG,
        MIG_MONITOR,
        Option("ngx", "n", "", "capability ngx"),
        Option("no-cgroups", "", "", "leave control groups alone"),
        Option("no-cntlibs", "", "", "no libraries of the container's own"),
        Option("no-devbind", "", "", "no nodes of devices"),
        *WITHOUT,
        Option("pid", "p", "PID", "a process in the container"),
        Option("require", "r", "EXPR", "what the image requires"),
        Option("utility", "u", "", "capability utility"),
        Option("video", "v", "", "capability video"),
    ),
)
COMMANDS = {table.name: table for table in (INFO, LIST, CONFIGURE)}
# Both list and configure have them.
CAPABILITIES = ("compat32", "compute", "display", "graphics", "ngx", "utility", "video")


class Words:
    """What words say: values by the long names of options, in their order; and the arguments."""

    __slots__ = ("arguments", "table", "values")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.values: dict[str, list[str]] = {}
        self.arguments: list[str] = []

    def has(self, name: str) -> bool:
        """Whether an option is there."""
        return name in self.values

    def last(self, name: str) -> str:
        """Return the last value of an option, "" without one."""
        return self.values.get(name, [""])[-1]

    def ids(self, name: str) -> tuple[str, ...]:
        """Return the values of an option, each of which may be a list with commas."""
        return tuple(one for value in self.values.get(name, ()) for one in value.split(",") if one)


def parse(words: list[str]) -> tuple[Words, Words | None]:
    """Read a call: the program's options, and the command with its own, if there is one.

    Raises `NvidiaRuntimeError` for what is no call of it.
    """
    program = Words(PROGRAM)
    rest = _read(program, words, to_the_first=True)
    if not rest:
        return program, None
    if rest[0] not in COMMANDS:
        raise wrong(PROGRAM, f"there is no command {rest[0]!r}")
    command = Words(COMMANDS[rest[0]])
    command.arguments = _read(command, rest[1:], to_the_first=False)
    return program, command


def _read(into: Words, words: list[str], *, to_the_first: bool) -> list[str]:
    """Read options; return the other words, with all behind the first where that ends them."""
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*others, *rest]
        if len(word) < 2 or word[0] != "-":
            others.append(word)
            if to_the_first:
                return [*others, *rest]
        elif word[1] == "-":
            _read_long(into, word, rest)
        else:
            _read_short(into, word, rest)
    return others


def _read_long(into: Words, word: str, rest: "Iterator[str]") -> None:
    name, equals, value = word[2:].partition("=")
    option = _find(into.table, name, word)
    if option.kind == NONE and equals:
        raise wrong(into.table, f"option '--{option.long}' doesn't allow an argument")
    if option.kind == WORD and not equals:
        value = _next(into.table, rest, f"option '--{option.long}' requires an argument")
    into.values.setdefault(option.long, []).append(value)


def _find(table: Table, name: str, word: str) -> Option:
    """Find an option by its long name, or the beginning of one."""
    begun = [option for option in table.options if option.long.startswith(name)]
    whole = [option for option in begun if option.long == name]
    if len(whole or begun) == 1:
        return (whole or begun)[0]
    if begun:
        possible = " ".join(f"'--{option.long}'" for option in begun)
        raise wrong(table, f"option '{word}' is ambiguous; possibilities: {possible}")
    raise wrong(table, f"unrecognized option '{word}'")


def _read_short(into: Words, word: str, rest: "Iterator[str]") -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((one for one in into.table.options if one.short == letter), None)
        if option is None:
            raise wrong(into.table, f"invalid option -- '{letter}'")
        value = ""
        if option.kind != NONE:
            value, letters = letters, ""
        if option.kind == WORD and not value:
            value = _next(into.table, rest, f"option requires an argument -- '{letter}'")
        into.values.setdefault(option.long, []).append(value)


def _next(table: Table, rest: "Iterator[str]", complaint: str) -> str:
    for word in rest:
        return word
    raise wrong(table, complaint)


def wrong(table: Table, complaint: str) -> NvidiaRuntimeError:
    """Return the error for words that are no call."""
    hint = f"'{table.program()} --help' lists what it takes"
    return NvidiaRuntimeError(complaint, hint=hint)
