# SPDX-License-Identifier: Apache-2.0
"""Warnings about valid CDI specs: what fails on this host, and what could be abused."""

from __future__ import annotations

import os
import stat
from typing import Any

from nvidia_runtime.cdi import registry, versions
from nvidia_runtime.cli import engine_support
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.errors import os_reason
from nvidia_runtime.sources.specs import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.registry import Registry
    from nvidia_runtime.cdi.spec import Spec

    Item = dict[str, Any]


def of_hooks(spec: Spec, file: str) -> Iterator[Finding]:
    """Warn of hooks that a container could influence by its environment or working directory."""
    for place, hook in _items(spec, "hooks"):
        if not hook.get("env"):
            text = "is missing: the hook inherits variables of the image, such as LD_PRELOAD"
            yield _warning(file, f"{place}.env", f"{text} (CVE-2025-23266)")
        if not hook["path"].startswith("/"):
            text = f"{hook['path']!r} is relative: the program depends on the working directory"
            yield _warning(file, f"{place}.path", text)


def of_host(spec: Spec, file: str) -> Iterator[Finding]:
    """Warn of device nodes, mounts and hooks that this host lacks, or has with other numbers."""
    for place, node in _items(spec, "deviceNodes"):
        if message := _node_complaint(node):
            yield _warning(file, place, message)
    for place, mount in _items(spec, "mounts"):
        path = mount["hostPath"]
        # A file system that is not a bind mount, such as tmpfs, has a name instead of a path.
        if path.startswith("/") and not os.path.exists(path):
            yield _warning(file, f"{place}.hostPath", f"{path!r} does not exist on this host")
    programs: dict[str, list[str]] = {}
    for place, hook in _items(spec, "hooks"):
        # A startContainer hook is a program in the container.
        if hook["path"].startswith("/") and hook["hookName"] != "startContainer":
            programs.setdefault(hook["path"], []).append(place)
    for path, places in programs.items():
        if not (os.path.isfile(path) and os.access(path, os.X_OK)):
            others = f", for {len(places)} hooks" if len(places) > 1 else ""
            text = f"{path!r} is not a program on this host{others}"
            yield _warning(file, f"{places[0]}.path", text)


def of_engines(spec: Spec, file: str) -> Iterator[Finding]:
    """Warn of a version that an engine of this host does not know: it ignores the whole file."""
    version = spec["cdiVersion"].removeprefix("v")
    for engine, newest in engine_support.by_engine().items():
        if versions.is_older(newest, version):
            text = (
                f"{engine} reads CDI up to {newest}, and ignores this file:"
                f" 'nvidia-ctk cdi generate --output={file}' writes one that it reads"
            )
            yield _warning(file, "cdiVersion", text)


def of_owner(path: str) -> Iterator[Finding]:
    """Warn of a file or folder that other users than root and ourselves can change."""
    for text in registry.doubts(path):
        yield _warning(path, "", text)


def of_dirs(dirs: list[str]) -> Iterator[Finding]:
    """Warn of files that are ignored because of their names, and if no spec dir exists."""
    for folder in dirs:
        try:
            names = sorted(os.listdir(folder))
        except (OSError, ValueError):
            continue  # A missing one counts as empty; the registry reports others.
        for name in names:
            if name.endswith((".yml", ".JSON", ".YAML", ".json5")):
                text = "is ignored: the name of a CDI spec ends in .json or .yaml"
                yield _warning(os.path.join(folder, name), "", text)
    if not any(os.path.exists(folder) for folder in dirs):
        yield _warning(", ".join(dirs), "", "no spec dir exists")


def of_registry(host: Registry, specs: dict[str, Spec], files: list[str]) -> Iterator[Finding]:
    """Warn of devices of valid specs that are not used: conflicts, unreadable dirs, priorities.

    ``specs`` are the valid ones by path; errors of the ``files`` are reported elsewhere.
    """
    for error in host.errors:
        if error.where.partition(": ")[0] not in files:
            yield _warning(error.where, "", error.what)
    for path, spec in specs.items():
        for index, device in enumerate(spec["devices"]):
            name = f"{spec['kind']}={device['name']}"
            if name in host.devices and (winner := host.devices[name][0].path) != path:
                text = f"device {name} is not used: {winner} has a higher priority"
                yield _warning(path, f"devices[{index}]", text)


def _node_complaint(node: Item) -> str:
    """Return how a device node differs from the host's, "" if it does not."""
    path = node.get("hostPath") or node["path"]
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        if node.get("type") == "p" or (node.get("type") and node.get("major")):
            return ""  # The spec describes the node completely.
        reason = os_reason(error)
        return f"{path!r} cannot be injected: {reason}"
    kind = KINDS.get(stat.S_IFMT(status.st_mode))
    wanted = node.get("type") or kind
    if kind is None:
        return f"{path!r} is not a device node on this host"
    if wanted != kind and not (wanted == "u" and kind == "c"):
        return f"{path!r} is of type {kind} on this host, not {wanted}"
    numbers = {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
    for field, number in numbers.items():
        if node.get(field) and node[field] != number and kind != "p":
            return f"{path!r} has {field} {number} on this host, which is used, not {node[field]}"
    return ""


def _items(spec: Spec, field: str) -> Iterator[tuple[str, Item]]:
    """Return the items of a field in all edits, with their places."""
    parts = [
        (f"devices[{index}].containerEdits", device.get("containerEdits"))
        for index, device in enumerate(spec["devices"])
    ]
    for place, edits in [*parts, ("containerEdits", spec.get("containerEdits"))]:
        for index, item in enumerate((edits or {}).get(field) or ()):
            yield f"{place}.{field}[{index}]", item


def _warning(file: str, path: str, message: str) -> Finding:
    return Finding(severity="warning", file=file, path=path, message=message)
