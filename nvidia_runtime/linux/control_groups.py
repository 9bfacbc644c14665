# SPDX-License-Identifier: Apache-2.0
"""Where the control groups of a process are that have a say on device nodes, see cgroups(7).

A machine may have cgroup v1, v2, or both at once (hybrid); with both, both have to allow.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

DEVICES, UNIFIED = "devices", ""
KINDS = {"cgroup": DEVICES, "cgroup2": UNIFIED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group: its ``hierarchy``, where that is mounted (``top``), and its own ``path`` below."""

    hierarchy: str
    top: str
    path: str

    @property
    def folder(self) -> str:
        """The group's folder."""
        return self.top + self.path if self.path != "/" else self.top

    def chain(self) -> list[Group]:
        """Return the groups from the top to this one, without the top itself."""
        names = [name for name in self.path.split("/") if name]
        paths = ["/" + "/".join(names[: count + 1]) for count in range(len(names))]
        return [Group(hierarchy=self.hierarchy, top=self.top, path=path) for path in paths]


def of_process(pid: int, proc: str = "/proc") -> list[Group]:
    """Return the groups of a process in the hierarchies that judge devices, if they are mounted.

    Raises `NvidiaRuntimeError` where the process has ended, or its groups cannot be seen from here.
    """
    tops = _tops(_read(f"{proc}/self/mountinfo"))
    groups = []
    # A container may name its groups, also with what str.splitlines ends a line at.
    for line in _read(f"{proc}/{pid}/cgroup").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        name = UNIFIED if number == "0" and not controllers else DEVICES
        if name == DEVICES and DEVICES not in controllers.split(","):
            continue
        if name not in tops:
            continue
        top, root = tops[name]
        if root not in ("/", path) and not path.startswith(f"{root}/"):
            raise _hidden(path)
        path = path if root == "/" else path[len(root) :] or "/"
        if path == "/.." or path.startswith("/../"):
            raise _hidden(path)
        groups.append(Group(hierarchy=name, top=top, path=path))
    return groups


def _hidden(path: str) -> NvidiaRuntimeError:
    hint = "run it on the host, outside of containers"
    return NvidiaRuntimeError("cannot be seen from here", f"control group {path}", hint)


def _tops(table: str) -> dict[str, tuple[str, str]]:
    """Return where hierarchies are mounted, and which group of them that is."""
    tops: dict[str, tuple[str, str]] = {}
    for line in table.split("\n"):
        left, _, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if len(before) < 5 or len(after) < 3 or after[0] not in KINDS:
            continue
        name = KINDS[after[0]]
        if name == DEVICES and DEVICES not in after[2].split(","):
            continue
        # Of several one that shows all groups; of those the last, which may cover the others.
        if before[3] == "/" or tops.get(name, ("", ""))[1] != "/":
            tops[name] = (before[4], before[3])
    return tops


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        what = f"cannot be read: {os_reason(error)}"
        raise NvidiaRuntimeError(what, os.fspath(path)) from None
