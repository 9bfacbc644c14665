# SPDX-License-Identifier: Apache-2.0
"""The words of nvidia-container-runtime-hook, in the manner of Go's flag package."""

from nvidia_runtime.document import FALSE, TRUE

# They have always been commands, and never did anything.
NO_OPERATIONS = ("poststart", "poststop")
USAGE = """\
Usage of nvidia-container-runtime-hook:
  -config FILE  read the settings from FILE
  -debug        let nvidia-container-cli write its log to stderr
  -version      print the version
Commands:
  prestart      give the container, whose state is on stdin, its GPUs
  poststart     do nothing
  poststop      do nothing
"""


class Call:
    """What the words say; a ``complaint`` is what is wrong with them."""

    __slots__ = ("command", "complaint", "config", "debug", "help", "version")

    def __init__(self) -> None:
        self.command = ""
        self.complaint = ""
        self.config = ""
        self.debug = False
        self.help = False
        self.version = False


def parse(words: list[str]) -> Call:
    """Read the flags and the command, which is the first word that is not a flag."""
    call = Call()
    rest = list(words)
    while rest and rest[0][:1] == "-" and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        if not name or name[0] == "-":
            call.complaint = f"bad flag syntax: {word}"
        elif name in ("h", "help"):
            call.help = True
        elif name == "config":
            if not equals and not rest:
                call.complaint = "flag needs an argument: -config"
            else:
                call.config = value if equals else rest.pop(0)
        elif name in ("debug", "version"):
            if equals and value not in TRUE + FALSE:
                call.complaint = f"invalid boolean value {value!r} for -{name}"
            setattr(call, name, not equals or value in TRUE)
        else:
            call.complaint = f"flag provided but not defined: -{name}"
        if call.complaint or call.help:
            return call
    call.command = rest[0] if rest else ""
    return call
