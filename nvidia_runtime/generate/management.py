# SPDX-License-Identifier: Apache-2.0
"""The CDI spec for managers of GPUs: all nodes of the driver, also those of MIG and IMEX."""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, driver_files, entries
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.host import device_nodes, nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.machine import Machine

PATTERNS = (
    "/dev/nvidia*",
    "/dev/nvidia-caps/nvidia-cap*",
    "/dev/nvidia-caps-imex-channels/channel*",
)
# A manager of GPUs has to see, and to make, the nodes of new MIG devices.
FORBIDDEN_HOOKS = frozenset(("disable-device-node-modification",))


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the CDI spec with one device, all.  Raises `NvidiaRuntimeError` without a node."""
    present = find(machine.dev_root)
    if not present:
        hint = "load the driver, or say with --dev-root where the nodes are"
        what = "no NVIDIA device nodes found"
        raise NvidiaRuntimeError(what, where=f"{machine.dev_root.rstrip('/')}/dev", hint=hint)
    device = assemble.device(assemble.ALL, entries.of_nodes(present, options.with_gids))
    version = machine.version()
    warnings: list[str] = []
    common = driver_files.edits(options, machine, version, warnings)
    generated = Generated(assemble.spec(options, [device], common, FORBIDDEN_HOOKS))
    generated.warnings = warnings
    folders = dict.fromkeys(os.path.dirname(pattern) for pattern in PATTERNS)
    generated.watched = [machine.dev_root.rstrip("/") + folder for folder in folders]
    generated.watched += driver_files.watched(machine, version)
    return generated


def find(dev_root: str) -> list[nodes.DeviceNode]:
    """Find the nodes of the driver and its capabilities, without those of other drivers."""
    present = [node for pattern in PATTERNS for node in nodes.find(dev_root, pattern)]
    return [node for node in present if not device_nodes.is_of_another(node.path)]
