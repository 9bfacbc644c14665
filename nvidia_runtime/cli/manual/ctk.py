# SPDX-License-Identifier: Apache-2.0
"""The page of nvidia-ctk: what its tables say."""

from __future__ import annotations

from nvidia_runtime.cli import help as texts
from nvidia_runtime.cli.manual import mdoc
from nvidia_runtime.cli.tables import root
from nvidia_runtime.cli.tables.table import Command, Switch, paragraphs

# Beyond so many switches that another command has, too, that command is named instead.
SHARED = 6
INTRODUCTION = """
nvidia-ctk tells container engines of nvidia-container-runtime(8), writes and checks CDI specs, says
what a container got and why, and runs commands as on machines with GPUs.

Data goes to stdout, all else to stderr.  An option that takes a value may be written --option=VALUE
or --option VALUE; of an option that is repeated the last counts, unless it takes a list.  Where
stderr is a terminal, a line there says what takes longer than a second.  Colours are for terminals
only, and NO_COLOR or TERM=dumb switches them off.

These options may stand behind any command, too:
"""
FILES = {
    "/etc/nvidia-container-runtime/config.toml": "The settings.",
    "/etc/cdi , /var/run/cdi": "CDI specs.",
    "/run/nvidia-container-runtime": "What is remembered, and the records of containers.",
    "/var/lib/nvidia-container-runtime": "Backups of engines' files, and what was done to them.",
}
ENGINE = """\
nvidia-ctk simulate a100x8 -- sh -c 'nvidia-ctk runtime configure --runtime=docker
  dockerd & until docker info >/dev/null 2>&1; do sleep 1; done
  docker run --rm --runtime=nvidia --gpus=2 ubuntu ls /dev; kill $!; wait'"""


def page() -> str:
    """Return the page."""
    lines = [
        *mdoc.head(root.PROGRAM, 1, "tools for containers with NVIDIA GPUs"),
        ".Sh SYNOPSIS",
        *(".Nm", ".Ar command", ".Op Ar options"),
        *(".Nm", ".Op Ar command", ".Fl -help"),
        *(".Nm", ".Fl -version"),
        ".Sh DESCRIPTION",
        *mdoc.paragraphs(paragraphs(INTRODUCTION)),
        *_options(root.ROOT.switches),
    ]
    shown: dict[str, Command] = {}
    for command in root.ROOT.below:
        if command.section:
            lines.append(f".Sh {command.section}")
        lines += _command(command, f"{root.PROGRAM} {command.name}", shown)
    lines += [
        ".Sh FILES",
        *mdoc.tagged([(f"Pa {path}", [said]) for path, said in FILES.items()]),
        ".Sh EXIT STATUS",
        "The same for all commands;",
        ".Cm simulate",
        "ends with that of its command.",
        *mdoc.tagged(
            [(f"{code}", mdoc.text(f"{_capital(said)}.")) for code, said in root.EXIT_CODES.items()]
        ),
        ".Sh EXAMPLES",
        ".Bd -literal",
        *[words for command in [root.ROOT, *shown.values()] for words, _ in command.examples],
        *ENGINE.splitlines(),
        ".Ed",
        ".Sh SEE ALSO",
        ".Xr nvidia-container-runtime.toml 5 ,",
        ".Xr nvidia-cdi-hook 8 ,",
        ".Xr nvidia-container-runtime 8 ,",
        ".Xr nvidia-container-runtime-hook 8",
    ]
    return "\n".join(lines) + "\n"


def _command(command: Command, name: str, shown: dict[str, Command]) -> list[str]:
    """Return what there is to say of a command, and of those below it."""
    notes = [*paragraphs(command.more), *paragraphs(command.notes)]
    lines: list[str] = []
    if command.main:
        said = mdoc.paragraphs([command.summary, *notes])
        lines += [f".Ss {mdoc.words(f'{name} {command.words}')}", *said]
        if len(command.names) > 1:
            others = " and ".join(command.names[1:])
            lines += mdoc.text(f"It is also called {others}.")
        lines += _switches(command, shown)
        shown[name] = command
    elif notes:
        lines += mdoc.paragraphs(notes)
    for below in command.below:
        lines += _command(below, f"{name} {below.name}", shown)
    return lines


def _switches(command: Command, shown: dict[str, Command]) -> list[str]:
    """Return the options, less the many of another command."""
    for name, other in shown.items():
        others = set(other.switches)
        if len(others.intersection(command.switches)) >= SHARED:
            own = [switch for switch in command.switches if switch not in others]
            said = mdoc.text(f"It takes the options of '{name}', and:")
            return [".Pp", *said, *_options(own)]
    return _options(command.switches)


def _options(switches: tuple[Switch, ...] | list[Switch]) -> list[str]:
    return mdoc.tagged([(_tag(switch), _said(switch)) for switch in switches])


def _tag(switch: Switch) -> str:
    names = " , ".join(f"Fl {mdoc.escaped(name[1:])}" for name in switch.names)
    return f"{names} Ns = Ns Ar {mdoc.words(switch.argument)}" if switch.argument else names


def _said(switch: Switch) -> list[str]:
    lines = mdoc.text(f"{_capital(texts.sentence(switch))}.")
    if switch.variables:
        *before, last = [f".Ev {name}" for name in switch.variables]
        lines += ["Also as", *(f"{name} ," for name in before), f"{last} ."]
    return lines


def _capital(said: str) -> str:
    """Begin with a capital letter, unless it is a file's name or the like."""
    return said if "." in said.split(maxsplit=1)[0] else said[:1].upper() + said[1:]
