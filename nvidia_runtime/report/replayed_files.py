# SPDX-License-Identifier: Apache-2.0
"""Device nodes and libraries of a report, as the document of a machine has them.

What a driver of that version would leave is compared with what was there: the machine's document
names what differs.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from nvidia_runtime.report import contents, hardware
from nvidia_runtime.simulate import build
from nvidia_runtime.simulate.machine import SimulatedMachine
from nvidia_runtime.simulate.tree import CharacterDevice, Symlink, Tree

Texts = Mapping[str, str]
Files = dict[str, dict[str, Any]]

NODE = re.compile(
    r"(?P<mode>[a-z-][rwxsStT-]{9}) \d+:(?P<gid>\d+) (?P<major>\d+):(?P<minor>\d+) "
    r"(?P<path>/\S+)(?: -> (?P<target>\S+))?"
)
LIBRARY = re.compile(r"(?P<path>/\S+)(?: -> (?P<target>\S+))?")
MAIN = re.compile(r"/(?:libcuda|libnvidia-ml)\.so\.(?P<version>\d{3,4}(?:\.\d{1,4}){1,2})")
# On a Jetson libcuda is libcuda.so.1.1: others have the driver's version.
VERSION = re.compile(r"\.so\.(\d{3,4}(?:\.\d{1,4}){1,2})")
# Where the major number of each kind is seen.
MAJORS = {
    "nvidia": "/dev/nvidiactl",
    "uvm": "/dev/nvidia-uvm",
    "caps": "/dev/nvidia-caps/nvidia-cap1",
    "nvswitch": "/dev/nvidia-nvswitchctl",
    "gds": "/dev/nvidia-fs0",
    "gdrcopy": "/dev/gdrdrv",
    "infiniband": "/dev/infiniband/uverbs0",
    "dxg": "/dev/dxg",
}
CHANNEL = "/dev/nvidia-caps-imex-channels/channel"
CARD = re.compile(r"/dev/dri/card\d+")
# Debian's folders of libraries tell the architecture.
DEBIANS = re.compile(r"/usr/lib/(x86_64|aarch64)-linux-gnu")


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A line of the list of nodes: a character device, a link, or something else."""

    kind: str
    mode: int
    gid: int
    major: int
    minor: int
    target: str


def nodes(texts: Texts) -> dict[str, Node]:
    """Return the nodes of a report by their paths."""
    matches = map(NODE.fullmatch, texts.get("machine/device-nodes.txt", "").splitlines())
    return {match["path"]: _node(match) for match in matches if match}


def _node(match: re.Match[str]) -> Node:
    bits = "".join("0" if bit == "-" else "1" for bit in match["mode"][1:])
    gid, major, minor = (int(match[name]) for name in ("gid", "major", "minor"))
    return Node(match["mode"][0], int(bits, 2), gid, major, minor, match["target"] or "")


def extras(here: Mapping[str, Node]) -> dict[str, Any]:
    """Return what nodes and sockets tell of a machine beside its GPUs."""
    majors = {kind: here[path].major for kind, path in MAJORS.items() if path in here}
    channels = sorted(_numbers(here, CHANNEL))
    if channels:
        majors["imex"] = here[f"{CHANNEL}{channels[0]}"].major
    if cards := [path for path in here if CARD.fullmatch(path)]:
        majors["drm"] = here[cards[0]].major
    return {
        "majors": majors,
        "imex_channels": channels,
        "nvswitches": len(_numbers(here, "/dev/nvidia-nvswitch")),
        "gds_nodes": len(_numbers(here, "/dev/nvidia-fs")),
        "has_gdrcopy": "/dev/gdrdrv" in here,
        "has_mofed": "/dev/infiniband/uverbs0" in here,
        "has_fabric_manager": "/run/nvidia-fabricmanager/socket" in here,
        "has_persistenced": "/run/nvidia-persistenced/socket" in here,
    }


def _numbers(paths: Iterable[str], start: str) -> list[int]:
    ends = [path.removeprefix(start) for path in paths if path.startswith(start)]
    return [int(end) for end in ends if end.isdecimal()]


def libraries(texts: Texts) -> dict[str, str]:
    """Return the driver's libraries of a report, and where those lead that are links."""
    matches = map(LIBRARY.fullmatch, texts.get("machine/libraries.txt", "").splitlines())
    return {match["path"]: match["target"] or "" for match in matches if match}


def driver(texts: Texts, loaded: str) -> tuple[str, str]:
    """Return the folder of the driver's libraries, and their version.

    Of several versions it is the loaded one, if that is among them.
    """
    main = [match for match in map(MAIN.search, libraries(texts)) if match]
    main.sort(key=lambda match: match["version"] == loaded)
    if not main:
        others = filter(None, map(VERSION.search, libraries(texts)))
        return "", next((match[1] for match in others), "")
    folder = main[-1].string[: main[-1].start()]
    return folder, main[-1]["version"]


def differences(
    usual: SimulatedMachine, texts: Texts, own: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Return what a machine lacks of what is usual, and what it has beside that."""
    tree = build.without_code(usual)
    missing: list[str] = []
    files: Files = {}
    if here := nodes(texts):
        _compare_nodes(tree, here, missing, files)
    if "machine/libraries.txt" in texts:
        _compare_libraries(tree, libraries(texts), usual.library_folder, missing, files)
    files |= {file["path"]: file for file in own}
    return {"missing": missing, "files": list(files.values())}


def _compare_nodes(tree: Tree, here: Mapping[str, Node], missing: list[str], files: Files) -> None:
    missing += [path for path in tree if _is_listed(path) and path not in here]
    for path, node in here.items():
        if node.kind == "l" and _is_listed(path) and tree.get(path) != Symlink(node.target):
            files[path] = {"path": path, "link": node.target}
        elif node.kind == "c" and tree.get(path) != CharacterDevice(
            node.major, node.minor, node.mode, node.gid
        ):
            numbers = {"major": node.major, "minor": node.minor}
            files[path] = {"path": path, **numbers, "mode": node.mode, "gid": node.gid}


def _is_listed(path: str) -> bool:
    """Whether a report would list a node, if there is one."""
    folder, name = posixpath.split(path)
    if not folder.startswith("/dev"):
        return False
    if folder == "/dev":
        return bool(contents.NODES.search(name))
    return folder in (*contents.FOLDERS, contents.LINKS)


def _compare_libraries(
    tree: Tree, here: Mapping[str, str], folder: str, missing: list[str], files: Files
) -> None:
    usual = {
        path: entry
        for path, entry in tree.items()
        if posixpath.dirname(path) == folder and hardware.LIBRARIES.search(posixpath.basename(path))
    }
    missing += [path for path in usual if ".so" in path and path not in here]
    # The link that has a library's SONAME for a name leads to it.
    sonames = {
        posixpath.join(posixpath.dirname(path), target): posixpath.basename(path)
        for path, target in here.items()
        if re.search(r"\.so\.\d+$", path)
    }
    for path, target in here.items():
        entry = usual.get(path)
        if target and entry != Symlink(target):
            files[path] = {"path": path, "link": target}
        elif not target and (entry is None or isinstance(entry, Symlink)):
            library = {"is_library": True, "soname": sonames.get(path, "")}
            files[path] = {"path": path, **library, "mode": 0o644}
