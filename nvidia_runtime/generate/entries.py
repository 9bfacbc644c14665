# SPDX-License-Identifier: Apache-2.0
"""Entries of container edits in the form of a CDI spec: mounts, device nodes, groups."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.nodes import DeviceNode

    Edits = dict[str, Any]

OPTIONS = ("ro", "nosuid", "nodev", "rbind", "rprivate")
# Users outside a node's group may use it too.
OTHERS_READ_WRITE = 0o006


def mount(host_path: str, container_path: str) -> Edits:
    """Return a read-only bind mount of a file or folder of the driver."""
    return {"hostPath": host_path, "containerPath": container_path, "options": list(OPTIONS)}


def driver_mount(installed: Driver, path: str, container_path: str = "") -> Edits:
    """Return the mount of a file that was found in the driver's root, by its path there."""
    return mount(installed.source(path), container_path or installed.strip(path))


def of_nodes(nodes: list[DeviceNode], with_gids: bool) -> Edits:
    """Return the edits for device nodes, and with ``with_gids`` for the groups they need."""
    edits: Edits = {}
    if nodes:
        edits["deviceNodes"] = [_device_node(node) for node in nodes]
    gids = {node.gid for node in nodes if node.gid and not _is_open(node)} if with_gids else ()
    if gids:
        edits["additionalGids"] = sorted(gids)
    return edits


def has_grouped(spec: Edits) -> bool:
    """Whether a spec has nodes that users outside a group, root's apart, may not use."""
    parts = [spec, *spec["devices"]]
    nodes = [node for part in parts for node in part["containerEdits"].get("deviceNodes", ())]
    return any(
        node.get("gid") and node["fileMode"] & OTHERS_READ_WRITE != OTHERS_READ_WRITE
        for node in nodes
    )


def by_depth(path: str) -> tuple[int, str]:
    """Return the sort key of paths in a spec: the less deep first."""
    return path.count("/"), path


def _device_node(node: DeviceNode) -> Edits:
    entry: Edits = {"path": node.path}
    if node.host_path != node.path:
        entry["hostPath"] = node.host_path
    entry["major"] = node.major
    if node.minor:  # absent is 0, as Go's encoder writes it
        entry["minor"] = node.minor
    entry |= {"fileMode": node.mode, "permissions": "rwm"}
    if node.gid:
        entry["gid"] = node.gid
    return entry


def _is_open(node: DeviceNode) -> bool:
    return node.mode & OTHERS_READ_WRITE == OTHERS_READ_WRITE
