# SPDX-License-Identifier: Apache-2.0
"""MIG instances as the kernel driver lists them, and the nodes that give access to them."""

from __future__ import annotations

import os

from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.gpu import Mig

# The minor numbers of all possible instances: thousands of lines on any machine.
MINORS = "/proc/driver/nvidia-caps/mig-minors"
CAPABILITIES = "/proc/driver/nvidia/capabilities"
NODE = "/dev/nvidia-caps/nvidia-cap"
# The capabilities to configure and to watch all MIG devices.
MANAGING = ("config", "monitor")


def read_minors(kernel_root: str) -> str:
    """Read the minor numbers of the capabilities, "" if the driver does not support MIG."""
    try:
        with open(kernel_root + MINORS, encoding="ascii", errors="replace") as file:
            return "\n" + file.read()
    except OSError:
        return ""


def node_paths(minors: str, gpu_minor: int, mig: Mig) -> list[str]:
    """Return the nodes of a MIG device's GPU instance and compute instance, both or none."""
    instance = f"gpu{gpu_minor}/gi{mig.gpu_instance}"
    names = (f"{instance}/access", f"{instance}/ci{mig.compute_instance}/access")
    numbers = [_number(minors, name) for name in names]
    return [NODE + number for number in numbers] if all(numbers) else []


def managing_nodes(minors: str) -> dict[str, str]:
    """Return the nodes of the capabilities for all MIG devices, as far as the driver offers any."""
    numbers = {name: _number(minors, name) for name in MANAGING}
    return {name: NODE + number for name, number in numbers.items() if number}


def has_instances(kernel_root: str) -> bool:
    """Whether any GPU has a GPU instance."""
    folders = _folders(kernel_root)
    return any(name.startswith("gi") for path in folders for name in driver_root.names(path))


def accesses(kernel_root: str) -> dict[str, int]:
    """Return the files of all instances that give access, with the minors of their nodes."""
    files: dict[str, int] = {}
    for folder in _folders(kernel_root):
        for name in driver_root.names(folder):
            instance = f"{folder}/{name}"
            if name.startswith("gi"):
                inner = [f"{instance}/{one}" for one in driver_root.names(instance)]
                for place in (instance, *(one for one in inner if os.path.isdir(one))):
                    if (minor := file_minor(f"{place}/access")) >= 0:
                        files[f"{place}/access"] = minor
    return files


def file_minor(path: str) -> int:
    """Return the minor of a capability's node by its file in /proc, -1 if it says none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return -1
    minor = fields.get("DeviceFileMinor", "").strip()
    return int(minor) if minor.isdigit() else -1


def instances(kernel_root: str, gpu_minor: int) -> list[tuple[int, int]]:
    """List the GPU instance and compute instance of each MIG device of a GPU, in their order."""
    folder = f"{kernel_root}{CAPABILITIES}/gpu{gpu_minor}/mig"
    return sorted(
        (gpu_instance, compute_instance)
        for gpu_instance, path in _numbered(folder, "gi")
        for compute_instance, _ in _numbered(path, "ci")
    )


def is_possible(kernel_root: str) -> bool:
    """Whether any GPU could be in MIG mode."""
    return bool(_folders(kernel_root))


def _folders(kernel_root: str) -> list[str]:
    folder = kernel_root + CAPABILITIES
    paths = [f"{folder}/{name}/mig" for name in driver_root.names(folder) if name[:3] == "gpu"]
    return [path for path in paths if os.path.isdir(path)]


def _numbered(folder: str, prefix: str) -> list[tuple[int, str]]:
    """List the folders whose names are a prefix and a number, by number."""
    numbers = [name.removeprefix(prefix) for name in driver_root.names(folder)]
    return [
        (int(number), f"{folder}/{prefix}{number}")
        for number in numbers
        if number.isascii() and number.isdigit()
    ]


def _number(minors: str, name: str) -> str:
    at = minors.find(f"\n{name} ")
    if at < 0:
        return ""
    number = minors[at + len(name) + 2 :].split("\n", 1)[0].strip()
    return number if number.isdigit() else ""
