# SPDX-License-Identifier: Apache-2.0
"""What a container gets only if it asks for it: GDS, MOFED, GDRCopy, NVSwitch."""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, entries
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.host import nodes
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.store.snapshot import DRIVER_ROOT, NO_GIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.store.snapshot import Settings

    Edits = dict[str, Any]

NODES = {
    "gds": ("/dev/nvidia-fs*",),
    "mofed": ("/dev/infiniband/uverbs*", "/dev/infiniband/rdma_cm"),
    "gdrcopy": ("/dev/gdrdrv",),
    "nvswitch": ("/dev/nvidia-nvswitchctl", "/dev/nvidia-nvswitch*"),
}
# cuFile reads its settings, and asks udev which disk a file is on.
GDS_FILE = "/etc/cufile.json"
GDS_FOLDER = "/run/udev"


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the CDI spec of a gate, the mode, with one device, all.

    Raises `NvidiaRuntimeError` if the machine has no node of it.
    """
    dev_root = machine.dev_root.rstrip("/")
    gate_edits = edits(options.mode, machine.driver.root, machine.dev_root, options.with_gids)
    if not gate_edits:
        names = ", ".join(dev_root + name for name in NODES[options.mode])
        hint = "load its kernel module, or say with --dev-root where the nodes are"
        raise NvidiaRuntimeError(f"no device nodes of {options.mode} found: {names}", hint=hint)
    generated = Generated(assemble.spec(options, [assemble.device(assemble.ALL, gate_edits)], {}))
    generated.watched = [
        *dict.fromkeys(dev_root + os.path.dirname(name) for name in NODES[options.mode]),
        *[driver_root.join(machine.driver.root, path) for path in _files(options.mode)],
    ]
    return generated


def configured(gate: str, settings: Settings) -> Edits:
    """Return the edits of a gate by the settings, empty if the machine has no node of it."""
    root = str(settings[DRIVER_ROOT]) or "/"
    return edits(gate, root, root, not settings[NO_GIDS])


def edits(gate: str, root: str, dev_root: str, with_gids: bool = True) -> Edits:
    """Return the edits of a gate, empty if the machine has no node of it.

    ``root`` is where the driver's files are, ``dev_root`` where its nodes are.
    """
    present = {node.path: node for name in NODES[gate] for node in nodes.find(dev_root, name)}
    ordered = [present[path] for path in sorted(present, key=entries.by_depth)]
    result = entries.of_nodes(ordered, with_gids)
    if gate == "gds" and present:
        mounts = _gds_mounts(root)
        if mounts:
            result["mounts"] = mounts
    return result


def _files(gate: str) -> tuple[str, ...]:
    return (GDS_FILE, GDS_FOLDER) if gate == "gds" else ()


def _gds_mounts(root: str) -> list[Edits]:
    file = driver_root.join(root, GDS_FILE)
    folder = driver_root.join(root, GDS_FOLDER)
    mounts = []
    if driver_root.is_file(file, root):
        mounts.append(entries.mount(driver_root.source(file, root), GDS_FILE))
    if os.path.isdir(there := driver_root.source(folder, root)):
        mounts.append(entries.mount(there, GDS_FOLDER))
    return mounts
