# SPDX-License-Identifier: Apache-2.0
"""Which nodes the driver's devices have, or would have, and how to make those of no single GPU.

Their numbers are in /proc/devices and the driver's own tables.
"""

from __future__ import annotations

import os
import stat

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.host import mig, nodes, pci
from nvidia_runtime.host import root as driver_root

DEVICES = "/proc/devices"
# The second name is that of drivers before 2021.
NVIDIA = ("nvidia", "nvidia-frontend")
UVM = "nvidia-uvm"
CAPS = "nvidia-caps"
# Driver and minor number of the nodes that belong to no single GPU.
CONTROL = {
    "/dev/nvidia-modeset": ("nvidia", 254),
    "/dev/nvidiactl": ("nvidia", 255),
    "/dev/nvidia-uvm": (UVM, 0),
    "/dev/nvidia-uvm-tools": (UVM, 1),
}
MODE = 0o666
PATTERNS = ("/dev/nvidia*", "/dev/nvidia-caps/nvidia-*")
# Devices of other drivers, which have modes of their own in `generate`.
OTHERS = ("nvidia-fs", "nvidia-nvswitch", "nvidia-nvlink")


def majors(kernel_root: str = "") -> dict[str, int]:
    """Return the major numbers of NVIDIA's drivers.  Raises `NvidiaRuntimeError` without any."""
    path = kernel_root + DEVICES
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            characters = file.read().partition("Block devices:")[0]
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be read: {os_reason(error)}", where=path) from None
    words = [line.split() for line in characters.splitlines()]
    listed = {word[1]: int(word[0]) for word in words if len(word) == 2 and word[0].isdigit()}
    numbers = {name: number for name, number in listed.items() if name.startswith("nvidia")}
    for name in NVIDIA:
        if name in numbers:
            return {**numbers, "nvidia": numbers[name]}
    hint = "load the driver: --load-kernel-modules, or modprobe nvidia"
    raise NvidiaRuntimeError("no NVIDIA devices found", where=path, hint=hint)


def present(dev_root: str) -> dict[str, tuple[int, int]]:
    """Return the nodes that exist below a root, with their numbers."""
    listed = [node for pattern in PATTERNS for node in nodes.find(dev_root, pattern)]
    return {node.path: (node.major, node.minor) for node in listed if not is_of_another(node.path)}


def is_of_another(path: str) -> bool:
    """Whether a node belongs to another driver of NVIDIA's than that of the GPUs."""
    return os.path.basename(path).startswith(OTHERS)


def control(majors: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return the nodes that belong to no single GPU, present or not, with their numbers."""
    return {path: (_major(majors, name), minor) for path, (name, minor) in CONTROL.items()}


def possible(kernel_root: str = "") -> dict[str, tuple[int, int]]:
    """Return all nodes of this machine's GPUs, present or not, with their numbers."""
    numbers = majors(kernel_root)
    # Their minor numbers are lower than the count.
    count = len(pci.addresses(kernel_root))
    devices = control(numbers)
    devices |= {f"/dev/nvidia{minor}": (numbers["nvidia"], minor) for minor in range(count)}
    gpus = {f"gpu{minor}" for minor in range(count)}
    for line in mig.read_minors(kernel_root).splitlines():
        name, _, number = line.partition(" ")
        # Lines are `config 1`, `monitor 2`, and `gpu0/gi0/ci0/access 4`.
        if number.isdigit() and (name in ("config", "monitor") or name.split("/")[0] in gpus):
            devices[mig.NODE + number] = (_major(numbers, CAPS), int(number))
    return devices


def make(dev_root: str, path: str, numbers: tuple[int, int]) -> bool:
    """Make a node that everybody may use; ``False`` if something is there already."""
    host_path = driver_root.join(dev_root, path)
    try:
        os.mknod(host_path, stat.S_IFCHR | MODE, os.makedev(*numbers))
        os.chmod(host_path, MODE)  # whatever the umask
    except FileExistsError:
        return False
    except OSError as error:
        hint = "run it as root" if isinstance(error, PermissionError) else ""
        what = f"cannot make the node: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=host_path, hint=hint) from None
    return True


def mismatch(dev_root: str, path: str, numbers: tuple[int, int]) -> str:
    """Say what is there in place of a node, "" if it is that node."""
    node = nodes.read(dev_root, path)
    if node and (node.major, node.minor) == numbers:
        return ""
    is_now = f"device {node.major}:{node.minor}" if node else "no character device"
    return f"is {is_now}, the driver's is {numbers[0]}:{numbers[1]}"


def link(folder: str, numbers: tuple[int, int], target: str) -> str:
    """Make the link MAJOR:MINOR to a node; return what is there instead, "" if it is this link."""
    name = f"{folder}/{numbers[0]}:{numbers[1]}"
    try:
        os.symlink(target, name)
    except FileExistsError:
        if not os.path.islink(name):
            return "something that is not a link"
        there = os.readlink(name)
        same = os.path.normpath(os.path.join(folder, there)) == os.path.normpath(target)
        return "" if same else f"a link to {there}"
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be made: {os_reason(error)}", where=name) from None
    return ""


def _major(majors: dict[str, int], name: str) -> int:
    if name not in majors:
        hint = f"load its module: --load-kernel-modules, or modprobe {name}"
        if name == CAPS:
            hint = "load the driver anew: it offers MIG but has not registered its nodes"
        raise NvidiaRuntimeError(f"missing required device major {name}", DEVICES, hint)
    return majors[name]
