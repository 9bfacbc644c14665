# SPDX-License-Identifier: Apache-2.0
"""The DRM devices of a GPU: its cards and render nodes, and the links to them by bus id."""

from __future__ import annotations

import os

from nvidia_runtime.host import nodes
from nvidia_runtime.host import root as driver_root

BY_PATH = "/dev/dri/by-path"


def find(bus_id: str, sysfs: str, dev_root: str) -> list[nodes.DeviceNode]:
    """Find the DRM nodes below ``dev_root`` of the GPU with this bus id; ``sysfs`` is /sys."""
    names = driver_root.names(f"{sysfs}/bus/pci/devices/{bus_id}/drm")
    devices = [nodes.read(dev_root, f"/dev/dri/{name}") for name in names]
    return [node for node in devices if node]


def links(bus_id: str, devices: list[nodes.DeviceNode], dev_root: str) -> list[tuple[str, str]]:
    """Return the links in /dev/dri/by-path that lead to these nodes, with their targets."""
    names = {os.path.basename(node.path) for node in devices}
    present = []
    for kind in ("card", "render"):
        link = f"{BY_PATH}/pci-{bus_id}-{kind}"
        try:
            target = os.readlink(driver_root.join(dev_root, link))
        except OSError:
            continue
        if os.path.basename(target) in names:
            present.append((link, target))
    return present
