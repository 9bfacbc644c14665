# SPDX-License-Identifier: Apache-2.0
"""What is no error of a CDI spec and yet goes wrong on this host, or may be abused.

Ring: elsewhere.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.errors import os_reason
from nvidia_runtime.sources.specs import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.registry import Registry
    from nvidia_runtime.cdi.spec import Spec

    Item = dict[str, Any]

OTHERS = stat.S_IWGRP | stat.S_IWOTH


def of_hooks(spec: Spec, file: str) -> Iterator[Finding]:
    """Find hooks that run, as root, in an environment or from a place that a container chooses."""
    for place, hook in _items(spec, "hooks"):
        if not hook.get("env"):
            text = "is missing: the hook inherits variables, LD_PRELOAD too, that an image may set"
            yield _warning(file, f"{place}.env", f"{text} (CVE-2025-23266)")
        if not hook["path"].startswith("/"):
            text = f"{hook['path']!r} is relative: what runs depends on the working directory"
            yield _warning(file, f"{place}.path", text)


def of_host(spec: Spec, file: str) -> Iterator[Finding]:
    """Find what a spec says of this host that is not so."""
    for place, node in _items(spec, "deviceNodes"):
        if message := _node_complaint(node):
            yield _warning(file, place, message)
    for place, mount in _items(spec, "mounts"):
        path = mount["hostPath"]
        # A file system that is no bind mount, such as tmpfs, has a name here and no path.
        if path.startswith("/") and not os.path.exists(path):
            yield _warning(file, f"{place}.hostPath", f"{path!r} does not exist on this host")
    for place, hook in _items(spec, "hooks"):
        path = hook["path"]
        # A startContainer hook is a program of the container.
        is_ours = path.startswith("/") and hook["hookName"] != "startContainer"
        if is_ours and not (os.path.isfile(path) and os.access(path, os.X_OK)):
            yield _warning(file, f"{place}.path", f"{path!r} is no program of this host")


def of_owner(path: str) -> Iterator[Finding]:
    """Find out whether others than root, or than we ourselves, decide what a file says."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return  # What cannot be read is said elsewhere.
    if found.st_uid not in (0, os.geteuid()):
        text = f"belongs to user {found.st_uid}, who may change what containers get"
        yield _warning(path, "", text)
    if found.st_mode & OTHERS and not (
        stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    ):
        text = f"may be written by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w"
        yield _warning(path, "", text)


def of_dirs(dirs: list[str]) -> Iterator[Finding]:
    """Find spec dirs that nobody reads, and files in them that are taken for no spec."""
    for folder in dirs:
        try:
            names = sorted(os.listdir(folder))
        except (OSError, ValueError):
            continue  # A missing one is as good as an empty one; others the registry names.
        for name in names:
            if name.endswith((".yml", ".JSON", ".YAML", ".json5")):
                text = "is ignored: the name of a CDI spec ends in .json or .yaml"
                yield _warning(os.path.join(folder, name), "", text)
    if not any(os.path.exists(folder) for folder in dirs):
        yield _warning(", ".join(dirs), "", "no spec dir exists")


def of_registry(found: Registry, specs: dict[str, Spec], files: list[str]) -> Iterator[Finding]:
    """Find what keeps valid specs from being used: conflicts, unreadable dirs, shadows.

    ``specs`` are the valid ones by path; errors of one of the ``files`` have been said.
    """
    for error in found.errors:
        if error.where.partition(": ")[0] not in files:
            yield _warning(error.where, "", error.what)
    for path, spec in specs.items():
        for index, device in enumerate(spec["devices"]):
            name = f"{spec['kind']}={device['name']}"
            if name in found.devices and (winner := found.devices[name][0].path) != path:
                text = f"device {name} is not used: {winner} has a higher priority"
                yield _warning(path, f"devices[{index}]", text)


def _node_complaint(node: Item) -> str:
    """Say how a device node differs from the host's, "" if it does not."""
    path = node.get("hostPath") or node["path"]
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        if node.get("type") == "p" or (node.get("type") and node.get("major")):
            return ""  # The spec says all that is needed to make it.
        reason = os_reason(error)
        return f"{path!r} cannot be injected: {reason}"
    kind = KINDS.get(stat.S_IFMT(found.st_mode))
    said = node.get("type") or kind
    if kind is None:
        return f"{path!r} is no device node on this host"
    if said != kind and not (said == "u" and kind == "c"):
        return f"{path!r} is of type {kind} on this host, not {said}"
    here = {"major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}
    for field, number in here.items():
        if node.get(field) and node[field] != number and kind != "p":
            return (
                f"{path!r} has {field} {number} on this host, not {node[field]}; this host's counts"
            )
    return ""


def _items(spec: Spec, field: str) -> Iterator[tuple[str, Item]]:
    """Walk through all edits of one sort, each with its place."""
    parts = [
        (f"devices[{index}].containerEdits", device.get("containerEdits"))
        for index, device in enumerate(spec["devices"])
    ]
    for place, edits in [*parts, ("containerEdits", spec.get("containerEdits"))]:
        for index, item in enumerate((edits or {}).get(field) or ()):
            yield f"{place}.{field}[{index}]", item


def _warning(file: str, path: str, message: str) -> Finding:
    return Finding(severity="warning", file=file, path=path, message=message)
