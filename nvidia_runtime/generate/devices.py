# SPDX-License-Identifier: Apache-2.0
"""The edits of a GPU or a MIG device, and the nodes that every container with a GPU needs."""

from __future__ import annotations

from nvidia_runtime.generate import assemble, entries, graphics, hooks
from nvidia_runtime.host import mig as mig_instances
from nvidia_runtime.host import nodes
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.gpu import Gpu, Mig
    from nvidia_runtime.host.machine import Machine

    Edits = dict[str, Any]

CONTROL = (
    "/dev/nvidia-modeset",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-uvm",
    "/dev/nvidiactl",
)
# Folders that only root can enter with some versions of crun.
CLOSED = ("/dev/dri", "/dev/nvidia-caps")


def full_gpu(options: Options, machine: Machine, gpu: Gpu) -> Edits:
    """Return the edits of a whole GPU, none if its node is missing."""
    node = nodes.read(machine.dev_root, f"/dev/nvidia{gpu.minor}") if gpu.minor >= 0 else None
    if not node:
        return {}
    return _edits(options, [node], _drm(options, machine, gpu))


def mig_device(options: Options, machine: Machine, gpu: Gpu, mig: Mig) -> Edits:
    """Return the edits of a MIG device: its GPU's node and the capabilities of its two instances.

    There are none if one of these nodes is missing: nothing would work without it.
    """
    capabilities = mig_instances.node_paths(machine.mig_minors(), gpu.minor, mig)
    paths = [f"/dev/nvidia{gpu.minor}", *capabilities]
    present = [nodes.read(machine.dev_root, path) for path in paths]
    if not capabilities or not all(present):
        return {}
    drm = _drm(options, machine, gpu) if mig.has_graphics else {}
    return _edits(options, [node for node in present if node], drm)


def missing_node(machine: Machine, gpu: Gpu, mig: Mig | None) -> str:
    """Say which node of a GPU or MIG device is missing, as a path on this host where it has one."""
    paths = [f"/dev/nvidia{gpu.minor}"]
    if gpu.minor < 0:
        return "the minor number of its node"
    if mig:
        capabilities = mig_instances.node_paths(machine.mig_minors(), gpu.minor, mig)
        if not capabilities:
            return f"its entry in {mig_instances.MINORS}"
        paths += capabilities
    absent = [path for path in paths if not nodes.read(machine.dev_root, path)]
    return " and ".join(driver_root.join(machine.dev_root, path) for path in absent)


def control(options: Options, machine: Machine) -> Edits:
    """Return the nodes that belong to no single GPU; missing ones are left out."""
    present = [nodes.read(machine.dev_root, path) for path in CONTROL]
    return entries.of_nodes([node for node in present if node], options.with_gids)


def _drm(options: Options, machine: Machine, gpu: Gpu) -> Edits:
    if not gpu.bus_id:
        return {}
    return graphics.drm_edits(
        [gpu.bus_id],
        f"{machine.kernel_root}/sys",
        machine.dev_root,
        options.hook_program,
        options.with_gids,
    )


def _edits(options: Options, present: list[nodes.DeviceNode], drm: Edits) -> Edits:
    own = assemble.merge([entries.of_nodes(present, options.with_gids), drm])
    if "chmod" in options.enabled_hooks:
        paths = [node["path"] for node in own["deviceNodes"]]
        closed = [
            folder for folder in CLOSED if any(path.startswith(f"{folder}/") for path in paths)
        ]
        own = assemble.merge([own, {"hooks": [hooks.chmod(options.hook_program, closed)]}])
    return own
