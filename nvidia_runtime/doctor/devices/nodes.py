# SPDX-License-Identifier: Apache-2.0
"""Device nodes: whether they are there, and are what the driver says."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine, Fix
from nvidia_runtime.errors import some
from nvidia_runtime.host import device_nodes, nodes, pci, proc
from nvidia_runtime.host import root as driver_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.host.machine import Machine

    Numbers = tuple[int, int]

MAKE = ("system", "create-device-nodes", "--control-devices")
# Without these nothing works; the others are for tools and displays.
NEEDED = ("/dev/nvidiactl", "/dev/nvidia-uvm")
MODESET = "/dev/nvidia-modeset"
MODESET_MODULE = "/sys/module/nvidia_modeset"
DRI = "/dev/dri"

CONTROL_MISSING = Code(
    "NCT-0201",
    ERROR,
    "device nodes of the driver are missing",
    """
    /dev/nvidiactl, /dev/nvidia-uvm and the like belong to no single GPU.  No kernel makes them: the
    driver's programs do when they run first (nvidia-smi, nvidia-modprobe, nvidia-persistenced), and
    after a boot a container may be the first.  In it CUDA says "unknown error" (999), or
    nvidia-smi "Failed to initialize NVML: Unknown Error".
    """,
    """
    nvidia-ctk system create-device-nodes --control-devices makes them; for each boot:
    nvidia-persistenced, or 'nvidia-ctk system install-units', whose service makes them.
    """,
)
GPU_NODE_MISSING = Code(
    "NCT-0202",
    ERROR,
    "the device node of a GPU is missing",
    """
    The driver has the GPU, but there is no /dev/nvidiaN for it: nvidia-smi or nvidia-modprobe make
    it when they run first; or it was removed.  Containers that ask for it are refused.
    """,
    """
    Run nvidia-smi as root, or nvidia-modprobe -c N; mknod makes exactly one.  To have them after
    each boot: systemctl enable --now nvidia-persistenced.
    """,
)
WRONG_NUMBERS = Code(
    "NCT-0203",
    ERROR,
    "a device node has another device's numbers",
    """
    The kernel gives nvidia-uvm, the capabilities of MIG and IMEX channels other major numbers after
    each load of the modules.  A node from before (in an image of /dev, a chroot, made by hand, or
    kept by a container) opens another device or none: nvidia-smi works, cuInit returns 999 or 100.
    """,
    """
    Remove the node and have it made anew.
    """,
)
NOT_A_NODE = Code(
    "NCT-0204",
    ERROR,
    "in the place of a device node is something else",
    """
    'docker run -v /dev/nvidia0:/dev/nvidia0' makes a folder where nothing is, and scripts that
    write to a missing node make a file.  The driver's programs do not replace it.
    """,
    """
    Remove it and have the node made; give containers nodes by --gpus or --device, not by -v.
    """,
)
DRM_MISSING = Code(
    "NCT-0205",
    WARNING,
    "a DRM node of a GPU is missing",
    """
    The kernel has a card or render node for the GPU, and /dev/dri lacks it.  CUDA does not need it;
    Vulkan, EGL and Wayland in containers do not find the GPU.
    """,
    """
    udevadm trigger --subsystem-match=drm, or mknod.  A chroot or a container of the engine's needs
    /dev/dri from the machine.
    """,
)
CODES = (CONTROL_MISSING, GPU_NODE_MISSING, WRONG_NUMBERS, NOT_A_NODE, DRM_MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A node that should be there; ``mode`` is how it is made anew, "" by our own command."""

    path: str
    numbers: Numbers
    mode: str = ""


def check(machine: Machine, numbers: dict[str, int]) -> Iterator[Said]:
    """Look at the nodes of no single GPU, and at what stands where those of GPUs should."""
    control = [
        Expected(path=path, numbers=(numbers[name], minor))
        for path, (name, minor) in device_nodes.CONTROL.items()
        if name in numbers and _is_wanted(path)
    ]
    yield from _control_missing(machine, control)
    gpus = of_gpus(machine, numbers)
    yield from wrong(machine, [*control, *gpus])
    yield from _drm(machine)


def of_gpus(machine: Machine, numbers: dict[str, int]) -> list[Expected]:
    """Return the nodes of the GPUs that the driver lists."""
    minors = [gpu.minor for gpu in proc.gpus(machine.kernel_root) if gpu.minor >= 0]
    return [
        Expected(path=f"/dev/nvidia{minor}", numbers=(numbers["nvidia"], minor), mode="666")
        for minor in minors
    ]


def is_missing(machine: Machine, path: str) -> bool:
    """Whether nothing at all is where a node should be."""
    return not os.path.lexists(driver_root.join(machine.dev_root, path))


def wrong(machine: Machine, expected: Iterable[Expected]) -> Iterator[Finding]:
    """Say which of the nodes that should be there are other devices, or none."""
    kinds: dict[tuple[bool, bool], list[tuple[Expected, str]]] = {}
    for node in expected:
        mismatch = device_nodes.mismatch(machine.dev_root, node.path, node.numbers)
        if mismatch and not is_missing(machine, node.path):
            place = driver_root.join(machine.dev_root, node.path)
            is_node = stat.S_ISCHR(os.lstat(place).st_mode)
            kinds.setdefault((is_node, bool(node.mode)), []).append((node, mismatch))
    for (is_node, _), odd in kinds.items():
        places = [driver_root.join(machine.dev_root, node.path) for node, _ in odd]
        more = f"; as wrong are {some(places[1:])}" if odd[1:] else ""
        folders = [place for place in places if os.path.isdir(place)]
        others = [place for place in places if place not in folders]
        removals = [f"rmdir {' '.join(folders)}"] if folders else []
        removals += [f"rm {' '.join(others)}"] if others else []
        yield Finding(
            code=WRONG_NUMBERS if is_node else NOT_A_NODE,
            what=f"{places[0]} {odd[0][1]}{more}",
            where=places[0],
            command=" && ".join([*removals, making(machine, [node for node, _ in odd])]),
        )


def making(machine: Machine, expected: list[Expected]) -> str:
    """Return the command that makes nodes."""
    folder = os.path.dirname(driver_root.join(machine.dev_root, expected[0].path))
    before = [] if os.path.isdir(folder) else [f"mkdir -p {folder}"]
    if not expected[0].mode:
        return " && ".join([*before, f"nvidia-ctk {' '.join(_words(machine))}"])
    commands = [
        f"mknod -m {node.mode} {driver_root.join(machine.dev_root, node.path)}"
        f" c {node.numbers[0]} {node.numbers[1]}"
        for node in expected
    ]
    return " && ".join([*before, *commands])


def _words(machine: Machine) -> tuple[str, ...]:
    return MAKE if machine.dev_root == "/" else (*MAKE, f"--dev-root={machine.dev_root}")


def _is_wanted(path: str) -> bool:
    """Whether a node is needed here: without a display nothing loads the module of this one."""
    return path != MODESET or os.path.isdir(MODESET_MODULE)


def _control_missing(machine: Machine, control: list[Expected]) -> Iterator[Said]:
    missing = [node.path for node in control if is_missing(machine, node.path)]
    if not missing:
        yield Fine(f"{len(control)} nodes of the driver itself")
        return
    is_needed = any(path in NEEDED for path in missing)
    only_display = missing == [MODESET]
    severity = "" if is_needed else NOTE if only_display else WARNING
    places = [driver_root.join(machine.dev_root, path) for path in missing]
    # The command makes all that are missing, those that nobody needs here, too.
    changed = [path for path in device_nodes.CONTROL if is_missing(machine, path)]
    files = tuple(driver_root.join(machine.dev_root, path) for path in changed)
    what = f"there is no {some(places)}"
    if machine.dev_root != "/" and nodes.read("", missing[0]):
        what += ", but /dev has it: the root of config.toml is that of the nodes, too"
    yield Finding(
        code=CONTROL_MISSING,
        what=what,
        where=places[0],
        command=making(machine, control[:1]),
        severity=severity,
        fix=Fix(words=_words(machine), files=files) if _is_folder(places[0]) else None,
    )


def _is_folder(place: str) -> bool:
    return os.path.isdir(os.path.dirname(place))


def _drm(machine: Machine) -> Iterator[Said]:
    """Compare the DRM nodes of the kernel with those in /dev."""
    missing = []
    for gpu in proc.gpus(machine.kernel_root):
        if is_missing(machine, f"/dev/nvidia{gpu.minor}"):
            continue  # it is not of this place, or that is what is wrong
        folder = f"{machine.kernel_root}{pci.DEVICES}/{gpu.bus_id}/drm"
        for name in driver_root.names(folder):
            numbers = _numbers(f"{folder}/{name}/dev")
            if numbers and is_missing(machine, f"{DRI}/{name}"):
                missing.append(Expected(path=f"{DRI}/{name}", numbers=numbers, mode="660"))
    if not missing:
        return
    folder = driver_root.join(machine.dev_root, DRI)
    places = [driver_root.join(machine.dev_root, node.path) for node in missing]
    yield Finding(
        code=DRM_MISSING,
        what=f"there is no {some(places)}",
        where=places[0],
        command=making(machine, missing),
        # Without the folder nobody wants graphics here: an engine in a container.
        severity="" if os.path.isdir(folder) else NOTE,
    )


def _numbers(path: str) -> Numbers | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            major, colon, minor = file.read(32).strip().partition(":")
    except OSError:
        return None
    return (int(major), int(minor)) if colon and major.isdigit() and minor.isdigit() else None
