# SPDX-License-Identifier: Apache-2.0
"""The versions of CDI, and which of them a spec needs (CDI SPEC.md, "Versions")."""

from __future__ import annotations

from nvidia_runtime.cdi import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

VERSIONS = (
    *("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0"),
    *("1.0.0", "1.1.0"),
)


def is_older(version: str, other: str) -> bool:
    """Whether a version, which may begin with a ``v``, comes before another."""
    return VERSIONS.index(version.removeprefix("v")) < VERSIONS.index(other)


def minimum(spec: Document) -> str:
    """Return the oldest version that has all that a spec uses."""
    devices = spec.get("devices") or []
    edits = [part.get("containerEdits") or {} for part in (spec, *devices)]
    rdt = [part["intelRdt"] for part in edits if part.get("intelRdt") is not None]
    if any(part.get("netDevices") for part in edits) or any(
        part.get("schemata") is not None or part.get("enableMonitoring") for part in rdt
    ):
        return "1.1.0"
    if rdt or any(part.get("additionalGids") for part in edits):
        return "0.7.0"
    is_annotated = any(part.get("annotations") for part in (spec, *devices))
    if is_annotated or "." in spec["kind"].partition("/")[2]:
        return "0.6.0"
    nodes = [node for part in edits for node in part.get("deviceNodes") or ()]
    if any(node.get("hostPath") for node in nodes) or any(
        device["name"][0] not in names.LETTERS for device in devices
    ):
        return "0.5.0"
    mounts = [mount for part in edits for mount in part.get("mounts") or ()]
    return "0.4.0" if any(mount.get("type") for mount in mounts) else "0.3.0"
