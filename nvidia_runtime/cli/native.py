# SPDX-License-Identifier: Apache-2.0
"""What an engine injected by itself, as a record has it, and which CDI devices that may be.

config.json does not say which devices were asked for: they are guessed from the CDI specs of today.
"""

from __future__ import annotations

from typing import Any

from nvidia_runtime.cdi import registry
from nvidia_runtime.containers.asked import NODES
from nvidia_runtime.store import files

Record = dict[str, Any]
VERSION_FLAG = "--host-driver-version="


def limit(part: Record, spec_dirs: list[str]) -> tuple[Record, list[str]]:
    """Return the edits of a record's part, less what is the user's own, and lines on the devices.

    In config.json all nodes and mounts are alike: what no CDI spec has must look like a driver's.
    """
    edits: Record = part.get("edits") or {}
    specs = registry.read(spec_dirs)
    hooks = [hook for stage in edits.get("hooks", {}).values() for hook in stage]
    words = [word for hook in hooks for word in _words(hook)]
    nodes, mounts = edits.get("devices", []), edits.get("mounts", [])
    own = _in_specs(specs)
    edits = {
        **edits,
        "devices": [node for node in nodes if _is_nvidias(node["path"]) or node["path"] in own],
        "mounts": [
            mount
            for mount in mounts
            if mount["destination"] in own or _is_drivers(mount["destination"], words)
        ],
    }
    paths = {node["path"] for node in nodes}
    paths |= {mount["destination"] for mount in mounts}  # as a rootless engine has nodes
    lines = [f"  guess   {text}" for text in _guesses(specs, paths)]
    if version := _version(edits["mounts"], words):
        lines.append(f"  driver  {version}")
    return edits, lines


def _in_specs(specs: registry.Registry) -> set[str]:
    """Return the paths in the container of all that CDI specs have."""
    paths: set[str] = set()
    for file, device in specs.devices.values():
        for edits in (device["containerEdits"], file.spec.get("containerEdits") or {}):
            paths |= _paths(edits)
            paths |= {mount["containerPath"] for mount in edits.get("mounts") or ()}
    return paths


def _is_nvidias(path: str) -> bool:
    return path.startswith(NODES)


def _words(hook: Record) -> list[str]:
    words = hook.get("args")
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []


def _is_drivers(path: str, words: list[str]) -> bool:
    """Whether a file seems to be of a driver: by its name, or a folder that a hook names."""
    return "nvidia" in path or "cuda" in path or path.rpartition("/")[0] in words


def _version(mounts: list[Record], words: list[str]) -> str:
    """Return the driver's version, "" if nothing names it."""
    for mount in mounts:
        name = mount["destination"].rpartition("/")[2]
        version = str(name.partition("libcuda.so.")[2])
        if files.is_driver_version(version):
            return version
    said = [word.removeprefix(VERSION_FLAG) for word in words if word.startswith(VERSION_FLAG)]
    return said[0] if said else ""


def _guesses(specs: registry.Registry, paths: set[str]) -> list[str]:
    """Name the devices, of each spec file, that may have brought the nodes of a container.

    Devices with the same nodes are one by other names, and one with all nodes of others is meant in
    the place of these.
    """
    by_file: dict[str, dict[frozenset[str], list[str]]] = {}
    for name, (file, device) in specs.devices.items():
        nodes = _paths(device["containerEdits"])
        if nodes and nodes <= paths and _paths(file.spec.get("containerEdits") or {}) <= paths:
            by_file.setdefault(file.path, {}).setdefault(nodes, []).append(name)
    return [f"{_names(devices)}, by {path}" for path, devices in sorted(by_file.items())]


def _paths(edits: Record) -> frozenset[str]:
    return frozenset(node["path"] for node in edits.get("deviceNodes") or ())


def _names(devices: dict[frozenset[str], list[str]]) -> str:
    largest = [nodes for nodes in devices if not any(nodes < other for other in devices)]
    return ", ".join(" or ".join(sorted(devices[nodes], key=len)) for nodes in largest)
