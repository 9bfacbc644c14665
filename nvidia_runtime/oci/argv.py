# SPDX-License-Identifier: Apache-2.0
"""The command line of an OCI runtime, as runc and crun read it.

Global flags come first, the first other word is the command, the rest belongs to the command
(https://github.com/opencontainers/runc/blob/main/docs/specs-conformance.md and crun(1)).
"""

from nvidia_runtime.document import FALSE

# Flags that take the next word as their value unless they are written with "=".
GLOBAL_VALUES = frozenset(
    ("root", "log", "log-format", "log-level", "criu", "rootless", "cgroup-manager")
)
CREATE_VALUES = frozenset(
    ("bundle", "b", "console-socket", "pidfd-socket", "pid-file", "preserve-fds", "config", "f")
)


class Invocation:
    """One call of the runtime: its words, and what they say that matters to us."""

    __slots__ = (
        "bundle",
        "command",
        "complaint",
        "config",
        "container",
        "debug",
        "log",
        "log_json",
        "root",
        "version",
        "words",
    )

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.command = ""
        self.complaint = ""
        self.container = ""
        self.bundle = ""
        self.config = "config.json"  # crun lets its caller name another
        self.log = ""
        self.log_json = False
        self.root = ""  # where the low-level runtime keeps its states; "" is its default
        self.debug = False
        self.version = False


def parse(words: list[str]) -> Invocation:
    """Read the global flags, the command and, of ``create``, the bundle and the container's id.

    What is wrong with a create is its ``complaint``, so that the flags of the log still count.
    """
    invocation = Invocation(words)
    rest = _read_globals(invocation)
    if rest < len(words):
        invocation.command = words[rest]
        if invocation.command == "create":
            _read_create(invocation, rest + 1)
    return invocation


def _read_globals(invocation: Invocation) -> int:
    """Read the flags in front of the command; return the index of the command."""
    words = invocation.words
    at = 0
    while at < len(words):
        word = words[at]
        if word[:1] != "-" or word == "-":
            return at
        at += 1
        if word == "--":
            return at
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and name in GLOBAL_VALUES:
            value = words[at] if at < len(words) else ""
            at += 1
        if name == "log":
            invocation.log = value
        elif name == "log-format":
            invocation.log_json = value == "json"
        elif name == "root":
            invocation.root = value
        elif name == "debug":
            invocation.debug = value not in FALSE
        elif name == "version":
            invocation.version = value not in FALSE
    return at


def _read_create(invocation: Invocation, at: int) -> None:
    """Read the flags and the id, in any order: some engines put the bundle last."""
    words = invocation.words
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            break
        if word[:1] != "-" or word == "-":
            invocation.container = invocation.container or word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name not in CREATE_VALUES:
            continue
        if not equals:
            if at == len(words):
                if name in ("bundle", "b"):
                    invocation.complaint = f"flag {word} of create has no value"
                return
            value = words[at]
            at += 1
        if name in ("bundle", "b"):
            invocation.bundle = value
        elif name in ("config", "f"):
            invocation.config = value
    if not invocation.container and at < len(words):
        invocation.container = words[at]
