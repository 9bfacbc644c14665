# SPDX-License-Identifier: Apache-2.0
"""System calls of our programs, as strace sees them, and the rules that they keep.

A path that others decide (of an image, a volume, a folder of another user) is walked name by name,
each opened by ``O_PATH`` without following it; what was looked at and is a regular file or a folder
is opened by its descriptor, without waiting; what changes an owner, a mode or a time goes by a
descriptor, too; and what is made is new.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOOKS = ("fstat", "newfstatat", "statx", "stat", "lstat", "access", "faccessat", "faccessat2")
CHANGES = (
    *("chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes"),
    *("utimensat", "futimesat", "truncate", "setxattr", "lsetxattr", "removexattr"),
)
OPENS = ("open", "openat", "openat2", "creat")
STARTS = ("clone", "clone3", "fork", "vfork")
OTHERS = ("execve", "execveat", "dup", "dup2", "dup3")
TRACED = ",".join(f"?{name}" for name in (*LOOKS, *CHANGES, *OPENS, *STARTS, *OTHERS))
# Paths are never cut, whatever -s says; -y adds to each descriptor what it leads to.
STRACE = ("strace", "-f", "-D", "-y", "-s", "1", "-e", f"trace={TRACED}", "-e", "signal=none")
_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(?:<([^\n]*)>)?.*")
_AT = re.compile(r"(AT_FDCWD|\d+)(?:<((?:[^\"\n])*?)>(?:\(deleted\))?)?(?:, (.*))?")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(.*)')
_OWN = re.compile(r"/proc/self/fd/(\d+)$")
WITHOUT_FOLDER = frozenset(
    (*("open", "creat", "stat", "lstat", "access", "chmod", "chown", "lchown", "utime", "utimes"),)
    + ("truncate", "setxattr", "lsetxattr", "removexattr", "execve")
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that names a file: by a folder's descriptor, or -1, and a name."""

    name: str
    folder: int
    above: str
    path: str
    rest: str
    result: int
    opened: str

    @property
    def full(self) -> str:
        """The path that it names, without dots; links are as they are."""
        return os.path.normpath(os.path.join(self.above, self.path)) if self.path else self.above

    def has(self, *flags: str) -> bool:
        """Whether all flags are set."""
        return set(flags) <= set(re.findall(r"\w+", self.rest))


@dataclass(slots=True)
class _Process:
    """A process: whether it runs a program of ours, where it works, and its descriptors.

    Of each: what it leads to, and the kind of file that a look at it has shown.
    """

    is_ours: bool = False
    folder: str = ""
    paths: dict[int, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)

    def copy(self) -> _Process:
        """Return what a process has that this one starts."""
        return _Process(self.is_ours, self.folder, dict(self.paths), dict(self.kinds))

    def open(self, descriptor: int, path: str, kind: str = "") -> None:
        """Note what a descriptor is now."""
        self.paths[descriptor] = path
        self.kinds[descriptor] = kind


@dataclass(slots=True)
class Rules:
    """What breaks the rules: ``others`` are paths that others decide; ``sources`` are opened as
    they are, since the low-level runtime does so, too; ``own`` are our folders, where only nothing
    is waited for; ``programs`` are the beginnings of what is ours when it is executed.
    """

    others: Sequence[str]
    sources: Sequence[str] = ()
    own: Sequence[str] = ()
    programs: Sequence[str] = ("",)
    breaches: list[str] = field(default_factory=list)
    looks: int = 0
    reads: list[str] = field(default_factory=list)

    def read(self, trace: Path) -> Rules:
        """Judge all calls of a trace."""
        calls: list[tuple[int, str, str, int, str]] = []
        for pid, text in _joined(trace.read_text("utf-8", "backslashreplace").splitlines()):
            if match := _CALL.fullmatch(text):
                name, words, result, opened = match.groups()
                number = -1 if result == "?" else int(result)
                calls.append((pid, name, words, number, opened or ""))
        # The first call of a process may come before the one that started it returns.
        parents = {result: pid for pid, name, _, result, _ in calls if name in STARTS}
        processes = {calls[0][0]: _Process(is_ours=True)}
        for pid, name, words, number, opened in calls:
            if pid not in processes:
                processes[pid] = processes.get(parents.get(pid, 0), _Process()).copy()
            self._judge(processes[pid], name, words, number, opened)
        return self

    def _judge(self, process: _Process, name: str, words: str, result: int, opened: str) -> None:
        if name in STARTS:
            return
        if name in ("dup", "dup2", "dup3"):
            number = int((re.match(r"\d+", words) or ["-1"])[0])
            if result >= 0:
                process.open(result, opened, process.kinds.get(number, ""))
            return
        call = _call(process, name, words, result, opened)
        if call is None:
            return
        if name.startswith("exec"):
            if process.is_ours and self._is_others(call):
                self._breach(call, "is executed")
            if result == 0:
                process.is_ours = call.path.startswith(tuple(self.programs))
            return
        if process.is_ours:
            self._rule(name)(call, process)

    def _rule(self, name: str) -> Callable[[Call, _Process], None]:
        if name in OPENS:
            return self._open
        return self._change if name in CHANGES else self._look

    def _open(self, call: Call, process: _Process) -> None:
        if call.result >= 0:
            process.open(call.result, call.opened)
        if call.has("O_PATH"):
            self.looks += self._is_others(call)
            if self._is_others(call) and not call.has("O_NOFOLLOW") and not self._is_source(call):
                self._breach(call, "is followed")
            self._check_name(call)
        elif call.has("O_CREAT"):
            if self._is_others(call) and not call.has("O_EXCL", "O_NOFOLLOW"):
                self._breach(call, "is opened to write, new or not")
            self._check_name(call)
        elif own := _OWN.match(call.path):
            self._reopen(call, process, int(own[1]))
        elif self._is_others(call):
            if not (call.path == "." and call.has("O_DIRECTORY", "O_NONBLOCK")):
                self._breach(call, "is opened by its name")
        elif self._is_below(call.full, self.own) and not (
            call.has("O_NONBLOCK") or call.has("O_DIRECTORY")
        ):
            self._breach(call, "may be waited for")

    def _reopen(self, call: Call, process: _Process, descriptor: int) -> None:
        path, kind = process.paths.get(descriptor, ""), process.kinds.get(descriptor, "")
        if not self._is_below(path, self.others):
            return
        self.reads.append(path)
        if kind not in ("S_IFREG", "S_IFDIR"):
            self._breach(call, f"is opened as {kind or 'what it may be'}")
        if not call.has("O_NONBLOCK"):
            self._breach(call, "may be waited for")
        if call.has("O_WRONLY") or call.has("O_RDWR") or call.has("O_TRUNC"):
            self._breach(call, "is opened to write")

    def _change(self, call: Call, process: _Process) -> None:
        own = _OWN.match(call.path)
        if own and not process.kinds.get(int(own[1])):
            self._breach(call, "is changed without a look")
        elif not own and call.path and self._is_others(call):
            self._breach(call, "is changed by its name")

    def _look(self, call: Call, process: _Process) -> None:
        if not call.path:
            if call.result == 0 and (kind := re.search(r"st(?:x)?_mode=(S_IF\w+)", call.rest)):
                process.kinds[call.folder] = kind[1]
            return
        is_followed = not call.name.startswith("l") and not call.has("AT_SYMLINK_NOFOLLOW")
        if is_followed and self._is_others(call) and not self._is_source(call):
            self._breach(call, "is followed")
        self._check_name(call)

    def _check_name(self, call: Call) -> None:
        """A name has no folders in it, which could be links; a folder of ours is no name."""
        is_name = (call.folder >= 0 and "/" not in call.path) or _OWN.match(call.full)
        if self._is_others(call) and not is_name and not self._is_source(call):
            self._breach(call, "has folders that may be links")

    def _is_others(self, call: Call) -> bool:
        return self._is_below(call.full, self.others) or self._is_below(call.opened, self.others)

    def _is_source(self, call: Call) -> bool:
        return call.full in self.sources

    def _breach(self, call: Call, what: str) -> None:
        self.breaches.append(f"{call.name} {call.full} {what}: {call.rest}")

    @staticmethod
    def _is_below(path: str, folders: Sequence[str]) -> bool:
        return any(f"{path}/".startswith(f"{folder}/") for folder in folders)


def _joined(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Put together the calls that another process' stand in the middle of."""
    waiting: dict[int, str] = {}
    for line in lines:
        if not (match := _LINE.fullmatch(line)):
            continue
        pid, text = int(match[1]), match[2]
        if text.endswith("<unfinished ...>"):
            waiting[pid] = text.removesuffix("<unfinished ...>")
        elif resumed := re.fullmatch(r"<\.\.\. \w+ resumed>(.*)", text):
            yield pid, waiting.pop(pid, "") + resumed[1]
        else:
            yield pid, text


def _call(process: _Process, name: str, words: str, result: int, opened: str) -> Call | None:
    folder, above, rest = -1, process.folder, words
    if name not in WITHOUT_FOLDER:
        match = _AT.fullmatch(words)
        if not match:
            return None
        folder = -1 if match[1] == "AT_FDCWD" else int(match[1])
        above, rest = match[2] or "", match[3] or ""
        if folder < 0:
            process.folder = above
    text = _STRING.fullmatch(rest)
    path, rest = (text[1], text[2]) if text else ("", rest)
    return Call(name, folder, above, path, rest, result, opened)
