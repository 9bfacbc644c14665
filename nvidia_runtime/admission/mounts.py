# SPDX-License-Identifier: Apache-2.0
"""Requests by volume mounts, where the settings allow them.

Kubernetes' device plugin asks so: a user of the pod cannot.
"""

from __future__ import annotations

from posixpath import normpath

from nvidia_runtime.cdi import names
from nvidia_runtime.document import list_at, wrong_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

MOUNT_SOURCE = "/dev/null"
MOUNT_ROOT = "/var/run/nvidia-container-devices"


def read(spec: Document, path: str) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Read requests by mounts of /dev/null below /var/run/nvidia-container-devices.

    Return the devices, the IMEX channels, and the names that are neither.
    """
    seen: set[str] = set()
    devices: list[str] = []
    invalid: list[str] = []
    imex: list[str] = []
    for index, mount in enumerate(list_at(spec, "mounts", path)):
        if type(mount) is not dict:
            raise wrong_type(f"{path}: mounts[{index}]", "an object", mount)
        source, target = mount.get("source"), mount.get("destination")
        if type(source) is not str or type(target) is not str:
            continue
        target = normpath(target).replace("//", "/")
        if (
            normpath(source).replace("//", "/") != MOUNT_SOURCE
            or not target.startswith(MOUNT_ROOT)
            or target in seen
        ):
            continue
        seen.add(target)
        name = target[len(MOUNT_ROOT) :].strip("/")
        if name.startswith("imex/"):
            imex.append(name[5:])
        elif name.startswith("cdi/"):
            if qualified := _mounted_cdi_name(name[4:]):
                devices.append(qualified)
            else:
                invalid.append(name)
        elif name:
            devices.append(name)
    return devices, tuple(dict.fromkeys(imex)), tuple(invalid)


def _mounted_cdi_name(name: str) -> str:
    """Qualify ``vendor/class=device`` or ``vendor/class/device``; "" if it is neither."""
    if names.is_qualified(name):
        return name
    parts = name.split("/", 2)
    # A name that is still not qualified cannot be resolved, which is an error.
    return f"{parts[0]}/{parts[1]}={parts[2]}" if len(parts) == 3 else ""
