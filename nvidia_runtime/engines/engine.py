# SPDX-License-Identifier: Apache-2.0
"""What we know of a container engine: a value for each, which its own module makes."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nvidia_runtime.engines import difference, home
from nvidia_runtime.engines.difference import ABSENT, Document, Steps
from nvidia_runtime.engines.view import View
from nvidia_runtime.engines.write import Change

Version = tuple[int, ...]
Layer = tuple[str, Document]  # a file, and what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A way in which an engine is installed; paths may begin with a variable of the user's.

    ``marks`` is looked for in the path of the running executable and in its arguments.
    ``templates`` are the files that the engine makes its configuration from, each since a version
    of it; ``drop_in`` is a file that it reads without an import in the configuration.  ``advice``
    says why there is nothing to do, ``note`` what else to know.
    """

    name: str = ""
    marks: str = ""
    is_rootless: bool = False
    config: str = ""
    templates: tuple[tuple[Version, str], ...] = ()
    drop_in: str = ""
    sockets: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    restart: tuple[str, ...] = ("systemctl", "restart")
    advice: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The runtime to add: its name, its program, whether it becomes the default, CDI in the engine.

    ``config`` is the engine's own file, ``drop_in`` the one for what we add, "" for no such file.
    ``is_merged`` says that the engine merges the drop-in by itself, without an import.
    ``by_command`` says that the engine itself is asked what it runs with, ``executable`` which
    program that is, ``version`` the version of the one that runs, () where it is not known.

    In a container ``root`` is where the engine's machine is mounted, "" for our own, and
    ``drop_in_there`` is the path of the drop-in on that machine.  ``annotations`` are patterns of
    a pod's annotations that containerd hands on, ``kind`` is a runtime's type where there is none
    to copy.
    """

    name: str
    program: str
    config: str
    drop_in: str = ""
    is_default: bool = False
    cdi: bool = False
    is_merged: bool = False
    by_command: bool = False
    executable: str = ""
    version: Version = ()
    root: str = ""
    drop_in_there: str = ""
    annotations: tuple[str, ...] = ()
    kind: str = ""

    @property
    def import_path(self) -> str:
        """The path by which the engine's file names the drop-in."""
        return self.drop_in_there or self.drop_in

    def view(self, changes: tuple[Change, ...] = ()) -> View:
        """Return the files that the engine would read after some changes."""
        names = {self.drop_in_there: self.drop_in} if self.drop_in_there else {}
        return View(changes, root=self.root, names=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What to write, in this order, and what the user should know about it."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an engine's files say: our runtimes by name, the default runtime, CDI.

    ``default`` is "" where the engine's own default holds, ``cdi`` None where the files are silent.
    """

    runtimes: tuple[str, ...] = ()
    default: str = ""
    cdi: bool | None = None

    @property
    def is_default(self) -> bool:
        """Whether one of our runtimes is the default."""
        return self.default in self.runtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What a daemon says that it knows: runtimes with their programs, its default, CDI.

    ``cdi`` is None where it does not say.
    """

    programs: dict[str, str]
    default: str
    cdi: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where an engine's document has its runtimes, its default runtime and its switch for CDI.

    ``default_table`` is a table that is the default runtime, whatever ``default`` names.
    ``program`` is where the program stands in the table of a runtime; ``fallback`` becomes the
    default where it is not known what that was before.  ``version`` is the key that says in which
    version a file is written, and sets nothing.  ``spec_dirs`` are the folders of CDI specs.
    """

    runtimes: Steps
    default: Steps
    default_table: Steps = ()
    cdi: Steps = ()
    program: Steps = ()
    fallback: Any = ABSENT
    version: str = ""
    spec_dirs: Steps = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What kind of document an engine's files are.

    ``parse`` reads a text, of a path; ``edited`` returns a text that says what another document
    does.  ``tidied`` drops from a text what is of no use after our edit of one text to another was
    taken back, and writes values as the first one did.
    """

    parse: Callable[[str, str], Document]
    edited: Callable[[str, Document, str], str]
    tidied: Callable[[str, str, str], str] = lambda text, _before, _after: text


def _merged(layers: list[Layer], _version: Version) -> Document:
    return functools.reduce(difference.merged, (document for _path, document in layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A container engine.

    ``program`` is its daemon, or the engine itself where there is no daemon.  The first of the
    ``profiles`` is the distribution's own.  ``drop_in`` is the file for what we add, ``{config}``
    in it the configuration file; "" is an engine that reads one file only.
    """

    name: str
    program: str
    profiles: tuple[Profile, ...]
    drop_in: str = ""
    # The flags that name the daemon's file, and those that name the default runtime; whether the
    # daemon refuses to start when its file names that, too.
    config_flags: tuple[str, ...] = ()
    default_flags: tuple[str, ...] = ()
    refuses_both: bool = False
    # The variables that name the one file it reads, and the socket for its own clients.
    config_variable: str = ""
    socket_variable: str = ""
    # What it reads again at SIGHUP; "" where that would end it.
    reloads: str = ""
    # How an installation on a node makes it read its files, "" where none can, see `installer`;
    # and whether it may run OCI hooks for all containers instead of having a runtime of ours.
    rereads_by: str = ""
    runs_hooks: bool = False
    # Whether it looks for a runtime in PATH, and whether it can print what it runs with.
    looks_in_path: bool = False
    prints_configuration: bool = False
    # The key in its files that has it label containers for SELinux; "" where it always does.
    labels_if: str = ""
    # From which of its versions on it knows a CDI version, with the source of each row: the CDI
    # library of its go.mod, or what it took when it was tried.  It may know newer ones.
    cdi_versions: tuple[tuple[Version, str], ...]
    # The first version that has CDI on where its file is silent, and what comes of CDI names where
    # it is off.
    cdi_by_default: Version
    without_cdi: str = ""
    # The first version that reads what we write.
    oldest: Version = ()
    # Runtimes that it has without a word in its files; what ends in . or / is how names begin.
    built_in: tuple[str, ...] = ("runc",)
    # Where its files say who sets up control groups, systemd unless they do; () for another way.
    group_manager: Steps = ()
    # The folders of hooks.d(5) that it heeds.
    hook_folders: tuple[str, ...] = ()

    format: Format
    # Where a document, of a path, has what we change.
    places_in: Callable[[Document, str], Places]
    configure: Callable[[Intent], ChangeSet]
    # The files that it reads, the first of which is given, in their order; and all in one document,
    # as a version of it has them, () where that is not known.
    layers: Callable[[str, View], list[Layer]]
    combined: Callable[[list[Layer], Version], Document] = _merged
    # The words that have it judge a file and a drop-in.
    question: Callable[[str, str], list[str]]
    # What the daemon behind a socket knows, None where it cannot be asked.
    ask: Callable[[str], Knowledge | None] = lambda _socket: None
    # How containers ask for GPUs, given the process id of the daemon, 0 for none.
    usage: Callable[[Intent, int], str] = lambda _intent, _pid: ""
    # What a document needs in place of our runtime, given what is left of it and what it was.
    completed: Callable[[Document, Document, Intent], Document] = lambda left, _was, _intent: left
    # Whether what is left of a drop-in without our runtime says nothing of its own.
    is_left_over: Callable[[Document, Intent], bool] = lambda document, _intent: not document
    # What else goes or stays when the runtime is taken out, given the files that we made; these are
    # known from the journal only.
    undone: Callable[[Intent, ChangeSet, set[str]], ChangeSet] = lambda _intent, plan, _made: plan

    @property
    def has_daemon(self) -> bool:
        """Whether a process of it is what reads its files."""
        return bool(self.profiles[0].sockets)

    def recognise(self, words: list[str], *, is_rootless: bool) -> Profile:
        """Tell how it is installed from its executable's path and its arguments."""
        for profile in self.profiles:
            if profile.marks and any(re.search(profile.marks, word) for word in words):
                return profile
        for profile in self.profiles:
            if profile.is_rootless and is_rootless:
                return profile
        return self.profiles[0]


def expanded(path: str) -> str:
    """Put the user's own folders into a path of a profile."""
    folders = {
        "$XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME") or f"{home.folder()}/.config",
        "$XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}",
    }
    for variable, folder in folders.items():
        if path.startswith(variable):
            return folder + path.removeprefix(variable)
    return path
