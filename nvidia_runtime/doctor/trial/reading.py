# SPDX-License-Identifier: Apache-2.0
"""From what the program in a container has said to findings: what failed, and where."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding
from nvidia_runtime.doctor.trial import codes, look
from nvidia_runtime.doctor.trial import cuda as trial_cuda
from nvidia_runtime.doctor.trial import root as trial_root
from nvidia_runtime.host import proc
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from nvidia_runtime.doctor.trial.run import Ended

CUDA, NVML = look.LIBRARIES
CONTROL, UVM = "/dev/nvidiactl", "/dev/nvidia-uvm"
# Nodes without which there is no CUDA; others cost a part of what the driver can do.
NEEDED = re.compile(r"/dev/(nvidia\d+|nvidiactl|nvidia-uvm|dxg|nvmap|nvhost-\w*gpu)")
A_GPU = re.compile(r"/dev/nvidia\d+")
MIG_DEVICES = "/proc/driver/nvidia/capabilities/gpu*/mig/gi*"
ABSENT = "cannot open shared object file: No such file"
DENIED, FORBIDDEN = 1, 13  # EPERM, EACCES


@dataclass(frozen=True, slots=True)
class Node:
    """A device node: its path, its numbers, and the error of opening it, 0 for none."""

    path: str
    major: int
    minor: int
    error: int


@dataclass(frozen=True, slots=True)
class Library:
    """A library: the file that it was loaded from, or why it was not; files of its name."""

    name: str
    path: str
    problem: str = ""
    present: tuple[str, ...] = ()


@dataclass(slots=True)
class Sight:
    """What the program saw; ``step`` is its last one, ``is_whole`` says that it came to its end.

    ``cuda`` is the result of cuInit and the number of GPUs, None where it was not called.
    """

    nodes: list[Node] = field(default_factory=list)
    libraries: list[Library] = field(default_factory=list)
    cuda: tuple[int, int] | None = None
    step: str = ""
    is_whole: bool = False

    @property
    def gpus(self) -> int:
        """The number of GPUs, by CUDA or by their nodes."""
        return self.cuda[1] if self.cuda else len(_gpus(self))


def sight(text: str) -> Sight:
    """Return what was seen; a line that is not the program's is left out."""
    seen = Sight()
    for kind, *fields in trial_root.lines(text):
        try:
            _take(seen, kind, fields)
        except (TypeError, ValueError):
            continue
    return seen


def _take(seen: Sight, kind: str, fields: list[Any]) -> None:
    if kind == "step":
        seen.step = str(fields[0])
    elif kind == "node":
        path, *numbers = fields
        major, minor, error = map(int, numbers)
        seen.nodes.append(Node(str(path), major, minor, error))
    elif kind == "library":
        name, path, problem, *present = map(str, fields)
        seen.libraries.append(Library(name, path, problem, tuple(present)))
    elif kind == "cuda":
        result, count = map(int, fields)
        seen.cuda = result, count
    elif kind == "end":
        seen.is_whole = True


def summary(seen: Sight) -> str:
    """Return what is fine in one line."""
    parts = [_count(seen.gpus, "GPU"), _count(len(seen.nodes), "node")]
    for library in seen.libraries:
        if library.name == CUDA and library.path:
            parts.append(f"libcuda {_version(library.path)} loads".replace("  ", " "))
    if seen.cuda:
        parts.append(f"cuInit {seen.cuda[0]}")
    return ", ".join(parts)


def findings(
    seen: Sight, ended: Ended, way: str, root: str, command: str = ""
) -> Iterator[Finding]:
    """Return what is wrong; the causes first, and what only follows from them not at all.

    ``way`` is how the container asked, ``root`` the driver's root on the host, and ``command`` what
    to run where the wrong things are given.
    """
    listed = [*_nodes(seen, way, root, command)]
    # Who was given no node was given nothing.
    listed += _libraries(seen, way, command) if seen.nodes else ()
    yield from listed
    if not seen.is_whole:
        yield _unfinished(seen, ended, way)
    elif seen.cuda and seen.cuda[0] and not any(one.weight == ERROR for one in listed):
        name, code, remedy = trial_cuda.meaning(seen.cuda[0])
        what = f"cuInit answers {seen.cuda[0]} ({name}) with {_count(len(seen.nodes), 'node')}"
        yield Finding(code=code, what=what, where=f"{way}: cuInit", command=remedy)


def _unfinished(seen: Sight, ended: Ended, way: str) -> Finding:
    if ended.is_late:
        what = f"{seen.step} does not end"
        return Finding(code=codes.HANGS, what=what, where=f"{way}: {seen.step}")
    what = f"it ended at {seen.step}: {ended.message}"
    return Finding(code=codes.CRASHES, what=what, where=f"{way}: {seen.step}")


def _nodes(seen: Sight, way: str, root: str, command: str) -> Iterator[Finding]:
    if not seen.nodes:
        what = "there is none in /dev of the container"
        yield Finding(
            code=codes.NO_NODES,
            what=what,
            where=f"{way}: /dev",
            command="nvidia-ctk config explain",
        )
        return
    for path in _missing(seen, root):
        what = f"{path} is on the host, and not in the container"
        weight = WARNING if A_GPU.fullmatch(path) and _gpus(seen) else ERROR
        yield Finding(
            code=codes.NODE_MISSING,
            what=what,
            where=f"{way}: {path}",
            command=command,
            severity=weight,
        )
    problems: dict[tuple[Code, str], list[str]] = {}
    for node in seen.nodes:
        if problem := _problem(node, root):
            problems.setdefault(problem, []).append(node.path)
    for (code, what), paths in problems.items():
        # One finding for all nodes with which the same is wrong; the first that matters is named.
        needed = [path for path in paths if NEEDED.fullmatch(path)]
        first = (needed or paths)[0]
        others = _count(len(paths) - 1, "other node") if len(paths) > 1 else ""
        yield Finding(
            code=code,
            what=f"{first}: {what}" + (f"; the same holds for {others}" if others else ""),
            where=f"{way}: {first}",
            command=command if code is codes.NODE_NUMBERS else f"ls -lZ {first}",
            severity=ERROR if needed else WARNING,
        )


def _missing(seen: Sight, root: str) -> Iterator[str]:
    """Return what a container of all GPUs should have, and has not."""
    paths = {node.path for node in seen.nodes}
    # What has MIG devices is given by these, and a GPU of the same machine without one is not.
    gpus = [] if glob.glob(MIG_DEVICES) else proc.gpus(root)
    nodes = [f"/dev/nvidia{gpu.minor}" for gpu in gpus if gpu.minor >= 0]
    for path in (CONTROL, UVM, *nodes):
        if path not in paths and _host(path, root):
            yield path


def _problem(node: Node, root: str) -> tuple[Code, str] | None:
    """Return what is wrong with a node, None where it is as on the host, dead ones included."""
    reason = os.strerror(node.error).lower()
    if node.error == DENIED:
        return codes.NODE_DENIED, f"opening it gives: {reason}"
    if node.error == FORBIDDEN:
        return codes.NODE_FORBIDDEN, f"opening it gives: {reason}"
    numbers, host = f"{node.major}:{node.minor}", _host(node.path, root)
    if host and host != (node.major, node.minor):
        what = f"it is {numbers} in the container, and {host[0]}:{host[1]} on the host"
        return codes.NODE_NUMBERS, what
    if node.error and host and look.opening(_on_host(node.path, root)) != node.error:
        what = f"it can be opened on the host, and opening it in the container gives: {reason}"
        return codes.NODE_DEAD, what
    return None


def _host(path: str, root: str) -> tuple[int, int] | None:
    """Return the numbers of a node of the host."""
    try:
        number = os.stat(_on_host(path, root)).st_rdev
    except OSError:
        return None
    return os.major(number), os.minor(number)


def _on_host(path: str, root: str) -> str:
    own = driver_root.join(root, path)
    return own if os.path.exists(own) else path


def _libraries(seen: Sight, way: str, command: str) -> Iterator[Finding]:
    for library in seen.libraries:
        where = f"{way}: {library.name}"
        if not library.problem:
            if library.name == CUDA and (what := _other_version(library.path)):
                yield Finding(code=codes.LIBRARY_VERSION, what=what, where=where, command=command)
            continue
        is_absent = library.problem.startswith(library.name) and ABSENT in library.problem
        what = library.problem
        if is_absent and library.present:
            what = f"it is not found, though {library.present[0]} is in the container"
        elif is_absent:
            what = f"there is no {library.name} in the container"
        code = codes.LIBRARY_MISSING if is_absent else codes.LIBRARY_BROKEN
        # Without NVML there is no nvidia-smi, but CUDA.
        severity = WARNING if library.name == NVML and seen.cuda == (0, seen.gpus) else ""
        yield Finding(code=code, what=what, where=where, command=command, severity=severity)


def _other_version(path: str) -> str:
    """Say that a library is not of the module's version, "" where it is or nothing tells."""
    version, loaded = _version(path), files.loaded_driver()
    if not version or not loaded or version == loaded:
        return ""
    return f"libcuda is of version {version}, the module of {loaded}"


def _version(path: str) -> str:
    """Return the driver's version in a library's name, "" where there is none."""
    version = path.rpartition(".so.")[2]
    return version if files.is_driver_version(version) else ""


def _gpus(seen: Sight) -> list[str]:
    return [node.path for node in seen.nodes if A_GPU.fullmatch(node.path)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
