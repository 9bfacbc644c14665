# SPDX-License-Identifier: Apache-2.0
"""What is odd about a valid CDI spec, or does not fit this machine: each with its place.

'nvidia-ctk cdi validate' says the same.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from nvidia_runtime.errors import os_reason
from nvidia_runtime.sources.specs import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.spec import Spec

    Item = dict[str, Any]

# Endings of names by which a file would be a CDI spec if it were not for its case or length.
IGNORED = (".yml", ".JSON", ".YAML", ".json5")


def items(spec: Spec, field: str) -> Iterator[tuple[str, Item]]:
    """Return the items of a field in all edits, with their places."""
    parts = [
        (f"devices[{index}].containerEdits", device.get("containerEdits"))
        for index, device in enumerate(spec["devices"])
    ]
    for place, edits in [*parts, ("containerEdits", spec.get("containerEdits"))]:
        for index, item in enumerate((edits or {}).get(field) or ()):
            yield f"{place}.{field}[{index}]", item


def bare_hooks(spec: Spec) -> list[tuple[str, str]]:
    """Return the hooks without variables of their own: they inherit those of the image."""
    return [(place, hook["path"]) for place, hook in items(spec, "hooks") if not hook.get("env")]


def relative_hooks(spec: Spec) -> list[tuple[str, str]]:
    """Return the hooks whose program depends on the working directory."""
    hooks = items(spec, "hooks")
    return [(place, hook["path"]) for place, hook in hooks if not hook["path"].startswith("/")]


def missing_mounts(spec: Spec) -> list[tuple[str, str]]:
    """Return the sources of mounts that this host lacks."""
    # A file system that is not a bind mount, such as tmpfs, has a name instead of a path.
    paths = [(place, mount["hostPath"]) for place, mount in items(spec, "mounts")]
    return [(place, path) for place, path in paths if path[:1] == "/" and not os.path.exists(path)]


def missing_programs(spec: Spec) -> dict[str, list[str]]:
    """Return the programs of hooks that are none on this host, with the places of their hooks."""
    programs: dict[str, list[str]] = {}
    for place, hook in items(spec, "hooks"):
        # A startContainer hook is a program in the container.
        if hook["path"].startswith("/") and hook["hookName"] != "startContainer":
            programs.setdefault(hook["path"], []).append(place)
    return {
        path: places
        for path, places in programs.items()
        if not (os.path.isfile(path) and os.access(path, os.X_OK))
    }


def missing_nodes(spec: Spec) -> list[tuple[str, str]]:
    """Return the device nodes that cannot be injected, since this host lacks them, with reasons."""
    said = [(place, _absence(node)) for place, node in items(spec, "deviceNodes")]
    return [(place, text) for place, text in said if text]


def other_nodes(spec: Spec) -> list[tuple[str, str]]:
    """Return how device nodes differ from those of this host."""
    said = [(place, _difference(node)) for place, node in items(spec, "deviceNodes")]
    return [(place, text) for place, text in said if text]


def host_path(node: Item) -> str:
    """Return the path of a device node on the host."""
    return str(node.get("hostPath") or node["path"])


def ignored(folders: list[str]) -> list[str]:
    """Return the files of spec dirs that are ignored because of their names."""
    paths = []
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except (OSError, ValueError):
            continue  # A missing one counts as empty; the registry reports others.
        paths += [os.path.join(folder, name) for name in names if name.endswith(IGNORED)]
    return paths


def _absence(node: Item) -> str:
    path = host_path(node)
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        if node.get("type") == "p" or (node.get("type") and node.get("major")):
            return ""  # The spec describes the node completely.
        return f"{path!r} cannot be injected: {os_reason(error)}"
    return ""


def _difference(node: Item) -> str:
    path = host_path(node)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
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
