# SPDX-License-Identifier: Apache-2.0
"""A CDI spec for another place: its paths below another root."""

from __future__ import annotations

import copy
import posixpath

from nvidia_runtime.cdi import versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.cdi.spec import Spec

    Edits = dict[str, Any]

RELATIVE_TO = ("host", "container")
# The paths of these hooks are the container's, those of the others the host's.
IN_CONTAINER = ("createContainer", "startContainer")


def root(spec: Spec, old: str, new: str, relative_to: str) -> Spec:
    """Return a valid spec with its paths below ``old`` moved below ``new``.

    Relative to the host these are what a spec names of the host, else what it names of the
    container.  The version is raised only where the result needs a newer one: a device node gets a
    hostPath when its two paths part.
    """
    moved = copy.deepcopy(spec)
    if old == new:
        return moved
    parts = [moved.get("containerEdits")]
    parts += [device.get("containerEdits") for device in moved.get("devices") or ()]
    for edits in parts:
        if edits and relative_to == "host":
            _move_host(edits, old, new)
        elif edits:
            _move_container(edits, old, new)
    least = versions.minimum(moved)
    if versions.is_older(moved["cdiVersion"], least):
        moved["cdiVersion"] = least
    return moved


def path(text: str, old: str, new: str) -> str:
    """Move one path; what is not below ``old`` stays as it is."""
    below = old.rstrip("/") + "/"
    if not (text + "/").startswith(below):
        return text
    return posixpath.normpath(f"{new}/{text.removeprefix(below[:-1])}").replace("//", "/")


def _move_host(edits: Edits, old: str, new: str) -> None:
    for node in edits.get("deviceNodes") or ():
        node["hostPath"] = path(node.get("hostPath") or node["path"], old, new)
    for mount in edits.get("mounts") or ():
        mount["hostPath"] = path(mount["hostPath"], old, new)
    for hook in edits.get("hooks") or ():
        # The runtime starts all hooks from the host but this one.
        if hook["hookName"] != "startContainer":
            hook["path"] = path(hook["path"], old, new)
        if hook["hookName"] not in IN_CONTAINER:
            _move_arguments(hook, old, new)


def _move_container(edits: Edits, old: str, new: str) -> None:
    for node in edits.get("deviceNodes") or ():
        node["path"] = path(node["path"], old, new)
    for mount in edits.get("mounts") or ():
        mount["containerPath"] = path(mount["containerPath"], old, new)
    for hook in edits.get("hooks") or ():
        if hook["hookName"] == "startContainer":
            hook["path"] = path(hook["path"], old, new)
        if hook["hookName"] in IN_CONTAINER:
            _move_arguments(hook, old, new)


def _move_arguments(hook: Edits, old: str, new: str) -> None:
    """Move arguments that are paths, or links as the toolkit's hooks write them: ``a::b``."""
    if hook.get("args"):
        hook["args"] = [
            "::".join(path(half, old, new) for half in argument.split("::", 1))
            for argument in hook["args"]
        ]
