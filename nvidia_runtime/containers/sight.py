# SPDX-License-Identifier: Apache-2.0
"""What a running container has: nodes, mounts, the loader's cache and its environment.

Its files are hostile: they are read through the confined resolver by descriptors, in a child that
may hang, as where the container is the one who answers for a file system.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import asdict

from nvidia_runtime.containers.asked import Asked, Mount, Node
from nvidia_runtime.containers.value import (
    DEVICE,
    DIFFERENT,
    LIBRARY,
    MISSING,
    MOUNT,
    OK,
    UNKNOWN,
    VARIABLE,
    Drift,
)
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.host.child import END, Child, silent
from nvidia_runtime.rootfs import ldcache, loader_cache, mounts, resolver
from nvidia_runtime.rootfs.resolver import Place

LARGEST = 4 << 20  # bytes of an answer
LONGEST_ENVIRONMENT = 1 << 20
KINDS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
OTHERS = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO"}
NOTHING = "nothing"
RUNC_INIT, CRUN = "_LIBCONTAINER_INITTYPE=", "crun"


def look(pid: int, asked: Asked, patience: float) -> list[Drift]:
    """Compare what a process's root and environment are with what was asked; nothing is raised."""
    try:
        with Child(lambda say: say(_encode(_look(pid, asked)) + END)) as child:
            data = _answer(child, patience)
        return [Drift(**entry) for entry in json.loads(data)]
    except (NvidiaRuntimeError, ValueError):
        return _unknown(asked, silent(patience))


def _answer(child: Child, patience: float) -> bytes:
    deadline, data = time.monotonic() + patience, b""
    while not data.endswith(END):
        part = child.read(deadline - time.monotonic())
        if not part or len(data) > LARGEST:
            return b""
        data += part
    return data[: -len(END)]


def _encode(drifts: list[Drift]) -> bytes:
    return json.dumps([asdict(drift) for drift in drifts]).encode()


def _look(pid: int, asked: Asked) -> list[Drift]:
    drifts = []
    try:
        with resolver.open_root(f"/proc/{pid}/root") as root:
            points = mounts.points(f"/proc/{pid}/mountinfo")
            drifts += [_node(root, node) for node in asked.nodes]
            drifts += [_mount(root, mount, points) for mount in asked.mounts]
            drifts += _libraries(root, asked)
    except OSError as error:
        drifts = [drift for drift in _unknown(asked, _reason(error)) if drift.kind != VARIABLE]
    return drifts + _variables(pid, asked)


def _reason(error: OSError) -> str:
    may_not = isinstance(error, PermissionError) and os.geteuid() != 0
    return "only root may look" if may_not else os_reason(error)


def _unknown(asked: Asked, why: str) -> list[Drift]:
    names = [(DEVICE, node.path) for node in asked.nodes]
    names += [(MOUNT, mount.destination) for mount in asked.mounts]
    names += [(LIBRARY, name) for name in asked.libraries]
    names += [(VARIABLE, name) for name in asked.variables]
    return [Drift(kind=kind, name=name, state=UNKNOWN, why=why) for kind, name in names]


def numbers_of(kind: str, pair: tuple[int, int]) -> str:
    """Return a device as it is shown: ``c 195:0``."""
    return f"{kind} {pair[0]}:{pair[1]}"


def _device(status: os.stat_result) -> str:
    kind = stat.S_IFMT(status.st_mode)
    if kind in KINDS:
        return numbers_of(KINDS[kind], (os.major(status.st_rdev), os.minor(status.st_rdev)))
    return OTHERS.get(kind, "something else")


def on_host(node: Node) -> str:
    """Return what the host has now by the path of a node, as it is shown."""
    try:
        return _device(os.stat(node.host_path))
    except (OSError, ValueError):
        return NOTHING


def _node(root: Place, node: Node) -> Drift:
    now = on_host(node)
    given = numbers_of(node.kind, node.numbers) if node.numbers else now

    def drift(got: str, state: str, why: str = "") -> Drift:
        return Drift(kind=DEVICE, name=node.path, asked=given, got=got, state=state, why=why)

    try:
        with resolver.walk(root, node.path) as place:
            got = _device(place.status())
    except (FileNotFoundError, NotADirectoryError):
        return drift(NOTHING, MISSING)
    except (OSError, ValueError) as error:
        return drift("", UNKNOWN, os_reason(error))
    if got != given:
        return drift(got, DIFFERENT)
    if now != given:
        return drift(got, DIFFERENT, f"{node.host_path} is {now} on the host now")
    return drift(got, OK)


def _mount(root: Place, mount: Mount, points: frozenset[str]) -> Drift:
    def drift(got: str, state: str, why: str = "") -> Drift:
        return Drift(
            kind=MOUNT, name=mount.destination, asked=mount.source, got=got, state=state, why=why
        )

    try:
        with resolver.walk(root, mount.destination) as place:
            if place.path not in points:
                return drift("no mount", MISSING)
            status = place.status()
    except (FileNotFoundError, NotADirectoryError):
        return drift(NOTHING, MISSING)
    except (OSError, ValueError) as error:
        return drift("", UNKNOWN, os_reason(error))
    if not mount.is_bind:
        return drift(mount.source, OK)
    try:
        source = os.stat(mount.source)
    except (OSError, ValueError) as error:
        return drift("a file that the host has no longer", DIFFERENT, os_reason(error))
    if (source.st_dev, source.st_ino) != (status.st_dev, status.st_ino):
        return drift("another file", DIFFERENT, "it was replaced, or covered, since")
    return drift(mount.source, OK)


def _libraries(root: Place, asked: Asked) -> list[Drift]:
    """Look into the loader's cache; what a container made of it is no error of ours."""
    if not asked.libraries:
        return []
    paths: dict[str, str] = {}
    trouble = ""
    try:
        cached = loader_cache.read(root)
        trouble = cached.trouble
        for name, _, path, _ in cached.cache.rows():
            paths.setdefault(resolver.decode(name), resolver.decode(path))
    except (loader_cache.UnknownFormatError, ldcache.MalformedError) as error:
        trouble = str(error)
    return [
        Drift(
            kind=LIBRARY,
            name=name,
            asked="in the loader's cache",
            got=paths.get(name, NOTHING),
            state=OK if name in paths else UNKNOWN if trouble else MISSING,
            why="" if name in paths else trouble,
        )
        for name in asked.libraries
    ]


def _variables(pid: int, asked: Asked) -> list[Drift]:
    """Compare the environment of the first process, which may have changed it."""
    try:
        entries = _words(f"/proc/{pid}/environ")
        why = _waits(entries, _words(f"/proc/{pid}/cmdline"))
    except OSError as error:
        entries, why = [], _reason(error)
    if why:
        return [drift for drift in _unknown(asked, why) if drift.kind == VARIABLE]
    present = dict(entry.partition("=")[::2] for entry in entries if entry)
    return [_variable(name, value, present.get) for name, value in asked.variables.items()]


def _words(path: str) -> list[str]:
    with open(path, "rb") as file:
        return resolver.decode(file.read(LONGEST_ENVIRONMENT)).split("\0")


def _waits(environment: list[str], words: list[str]) -> str:
    """Say that a process is still the runtime's, which waits for "start", "" if it is not."""
    is_runc = any(entry.startswith(RUNC_INIT) for entry in environment)
    is_crun = os.path.basename(words[0]) == CRUN and not {"create", "run"}.isdisjoint(words)
    return "its program has not been started" if is_runc or is_crun else ""


def _variable(name: str, value: str, get: Callable[[str], str | None]) -> Drift:
    got = get(name)
    state = OK if got == value else MISSING if got is None else DIFFERENT
    return Drift(kind=VARIABLE, name=name, asked=value, got=got or "", state=state)
