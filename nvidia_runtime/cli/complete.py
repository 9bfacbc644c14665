# SPDX-License-Identifier: Apache-2.0
"""Completion: what may stand where the cursor is, by the tables.

The shells' scripts, in ``completions``, call ``nvidia-ctk __complete WORD...``; the last word is
the one that is being written.  A line is a word, a tab, and what it means; ``:files`` and
``:folders`` leave it to the shell.
"""

from __future__ import annotations

import os

from nvidia_runtime.cli import help as texts
from nvidia_runtime.cli import parse, values
from nvidia_runtime.cli.parse import Call
from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.cli.tables.table import Switch

SHELLS = {"bash": "nvidia-ctk.bash", "zsh": "_nvidia-ctk", "fish": "nvidia-ctk.fish"}
FILES, FOLDERS = ":files", ":folders"
# The words that stand for a value, where they say what completes it.
BY_ARGUMENT = {"FILE": FILES, "PROGRAM": FILES, "FOLDER": FOLDERS}


def script(words: list[str]) -> str:
    """Return the script of a shell."""
    if len(words) != 1 or words[0] not in SHELLS:
        what = f"unknown shell {words[0]!r}" if words else "no shell is named"
        raise NvidiaRuntimeError(what, hint=f"it is one of {', '.join(SHELLS)}")
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "completions")
    with open(os.path.join(folder, SHELLS[words[0]]), encoding="utf-8") as file:
        return file.read()


def candidates(words: list[str]) -> list[str]:
    """Return the lines for what may stand in the place of the last word; none for nonsense."""
    *before, begin = words or [""]
    try:
        call, waiting = _read(before)
        if waiting:
            return _values_of(waiting, begin, "")
        return _words(call, begin, is_free="--" in before)
    except (NvidiaRuntimeError, OSError, ValueError, LookupError):  # such as a broken config.toml
        return []


def _read(words: list[str]) -> tuple[Call, Switch | None]:
    """Read the words before; the switch is one whose value is still to come."""
    try:
        return parse.read(words), None
    except NvidiaRuntimeError:
        call = parse.read(words[:-1])  # a second error is nonsense
        place = call.find(words[-1])
        if not place or not place[1].argument:
            raise
        return call, place[1]


def _words(call: Call, begin: str, *, is_free: bool) -> list[str]:
    """Return commands, switches, or arguments."""
    command = call.command
    if is_free:
        return [FILES]
    if command.is_raw:
        return _hook(call.words, begin)
    if begin[:1] == "-":
        name, equals, value = begin.partition("=")
        if equals:
            place = call.find(name)
            return _values_of(place[1], value, f"{name}=") if place else []
        switches = dict.fromkeys((*command.switches, *call.chain[0].switches))
        return [
            _line(name, texts.sentence(switch))
            for switch in switches
            for name in switch.names
            if name.startswith(begin) and name[:2] == "--"
        ]
    if command.below:
        below = [(other.name, other.summary) for other in command.below]
        return [_line(name, said) for name, said in below if name.startswith(begin)]
    if call.words and not command.words.endswith("...]"):
        return []
    if command.values == values.FILES:
        return [FILES]
    return [name for name in values.of(command.values, begin) if name.startswith(begin)]


def _values_of(switch: Switch, begin: str, before: str) -> list[str]:
    """Return the values of a switch, behind what is before them in the same word."""
    names = list(switch.choices) or values.of(switch.values, begin)
    if not names and switch.argument in BY_ARGUMENT:
        return [BY_ARGUMENT[switch.argument]]
    if switch.is_list and "," in begin:  # the last of several
        done, _, begin = begin.rpartition(",")
        before = f"{before}{done},"
    return [f"{before}{name}" for name in names if name.startswith(begin)]


def _hook(words: list[str], begin: str) -> list[str]:
    """Return the verbs of a hook, or the flags of the last of them."""
    from nvidia_runtime.prepare.verbs import THEN, VERBS

    verb = next((word for word in reversed(words) if word in VERBS), "")
    if not verb or words[-1] == THEN:
        names = [*VERBS]
    else:
        names = [*(f"--{flag}" for flag in VERBS[verb]), THEN]
    return [name for name in names if name.startswith(begin)]


def _line(name: str, said: str) -> str:
    return f"{name}\t{said}"
