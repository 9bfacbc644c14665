# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of the Windows Subsystem for Linux: one node, and what the driver stores have.

All GPUs of Windows share the node: whoever has one has all of them, by whatever name.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, driver_files, entries, hooks, naming
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.generate.selection import select
from nvidia_runtime.host import dxcore, nodes, platform
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine

    Edits = dict[str, Any]

# Where WSL mounts the drivers of Windows, a folder for each.
STORES = "/usr/lib/wsl/drivers"
CUDA = "libcuda.so.1.1"
SMI = "nvidia-smi"
REQUIRED = (
    CUDA,
    "libcuda_loader.so",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ml_loader.so",
    "libnvdxgdmal.so.1",
    "nvcubins.bin",
    SMI,
)
OTHERS = ("*.so*", "*.bin", "*.dll")


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the CDI spec.  Raises `NvidiaRuntimeError` without a node or a driver."""
    node = nodes.read(machine.dev_root, platform.NODE)
    if not node:
        hint = "in Windows, install a driver for WSL, run 'wsl --update', then 'wsl --shutdown'"
        path = f"{machine.dev_root.rstrip('/')}{platform.NODE}"
        raise NvidiaRuntimeError(
            "there is no such node: Windows shares no GPU", where=path, hint=hint
        )
    warnings: list[str] = []
    library = _dxcore(machine)
    stores = find_stores(machine, library, warnings)
    edits = entries.of_nodes([node], options.with_gids)
    devices, others = [assemble.device(assemble.ALL, edits)], dict.fromkeys(("0", *options.ids))
    if "none" in options.ids:
        devices = [assemble.device("none", {"env": [assemble.EMPTY]})]
    elif gpus := _gpus(machine, warnings):
        chosen, _ = select(gpus, options.ids)
        names = [naming.names(options.strategies, one.index(), one.uuid()) for one in chosen]
        devices = [assemble.device(name, edits) for some in names for name in some]
        others = {}
    spec = assemble.spec(options, devices, _common(options, machine, library, stores, warnings))
    generated = Generated(spec)
    # Where nobody knows the GPUs, any id means all.
    named = {*others} - {assemble.ALL, "none"}
    generated.hidden = [assemble.device(name, edits) for name in sorted(named)]
    generated.warnings = warnings
    generated.watched = [library, *stores, driver_root.join(machine.driver.root, STORES)]
    return generated


def _gpus(machine: Machine, warnings: list[str]) -> list[Gpu]:
    """List the GPUs as NVML counts them here, none if it is not there or does not answer."""
    if not machine.has_nvml():
        return []
    try:
        inventory = machine.nvml()
    except NvidiaRuntimeError as error:
        warnings.append(f"{error}: GPUs have no names but {assemble.ALL}")
        return []
    warnings += inventory.warnings
    return inventory.gpus


def find_stores(machine: Machine, library: str, warnings: list[str]) -> list[str]:
    """Find the folders of NVIDIA's drivers, as a host's paths: GPUs may have one each.

    libdxcore knows those in use; if it does not answer, the newest is taken.
    """
    root = machine.driver.root
    try:
        stores = dxcore.driver_stores(library, machine.patience)
    except NvidiaRuntimeError as error:
        stores = []
        warnings.append(f"{error}; {error.hint}; looking for the driver in {STORES}")
    used = [driver_root.join(root, store) for store in stores]
    if used := [store for store in used if os.path.exists(f"{store}/{CUDA}")]:
        return used
    folder = driver_root.join(root, STORES)
    folders = [f"{folder}/{name}" for name in driver_root.names(folder)]
    usable = [path for path in folders if os.path.exists(f"{path}/{CUDA}")]
    if not usable:
        hint = "in Windows, install a driver that supports CUDA in WSL"
        raise NvidiaRuntimeError(f"no driver has {CUDA}", where=folder, hint=hint)
    # Older drivers stay there after an update.
    return [max(usable, key=lambda path: os.stat(f"{path}/{CUDA}").st_mtime_ns)]


def _dxcore(machine: Machine) -> str:
    usual = driver_root.join(machine.driver.root, f"{platform.WSL_FOLDER}/{platform.DXCORE}")
    if os.path.exists(usual):
        return usual
    libraries = machine.driver.libraries(platform.DXCORE)
    if not libraries:
        hint = "this is not WSL, or has no GPU support: run 'wsl --update' in Windows"
        raise NvidiaRuntimeError("there is no such library", where=usual, hint=hint)
    return libraries[0]


def _common(
    options: Options, machine: Machine, library: str, stores: list[str], warnings: list[str]
) -> Edits:
    needed = [library]
    others: list[str] = []
    for store in stores:
        names = driver_root.names(store)
        if missing := [name for name in REQUIRED if name not in names]:
            warnings.append(f"{store} has no {', '.join(missing)}")
        needed += [f"{store}/{name}" for name in REQUIRED if name in names]
        others += [f"{store}/{name}" for name in names if _is_other(name)]
    optional = [path for path in others if os.path.isfile(path)]
    # The first that there is; it asks all drivers.
    smi = [machine.driver.strip(path) for path in needed if os.path.basename(path) == SMI][:1]
    mounted = [*needed, *optional]
    return {
        "hooks": [
            *hooks.create_symlinks(options.hook_program, [(f"/usr/bin/{SMI}", p) for p in smi]),
            *driver_files.ldcache_hook(options, [machine.driver.strip(path) for path in needed]),
        ],
        "mounts": [entries.mount(path, machine.driver.strip(path)) for path in mounted],
    }


def _is_other(name: str) -> bool:
    return name not in REQUIRED and any(driver_root.is_match(name, one) for one in OTHERS)
