# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of the Windows Subsystem for Linux: one node, and what the driver store has.

All GPUs of Windows share the node, so there is one device: all.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, driver_files, entries, hooks
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.host import dxcore, nodes, platform
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
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
    store = find_store(machine, library, warnings)
    edits = entries.of_nodes([node], options.with_gids)
    device = assemble.device(assemble.ALL, edits)
    if "none" in options.ids:
        device = assemble.device("none", {"env": [assemble.EMPTY]})
    spec = assemble.spec(options, [device], _common(options, machine, library, store, warnings))
    generated = Generated(spec)
    # Any id means all.
    named = {"0", *options.ids} - {assemble.ALL, "none"}
    generated.hidden = [assemble.device(name, edits) for name in sorted(named)]
    generated.warnings = warnings
    generated.watched = [library, store, driver_root.join(machine.driver.root, STORES)]
    return generated


def find_store(machine: Machine, library: str, warnings: list[str]) -> str:
    """Find the folder of NVIDIA's driver, as a host's path.

    libdxcore knows the one in use; if it does not answer, the newest is taken.
    """
    root = machine.driver.root
    try:
        stores = dxcore.driver_stores(library, machine.patience)
    except NvidiaRuntimeError as error:
        stores = []
        warnings.append(f"{error}; {error.hint}; looking for the driver in {STORES}")
    for store in stores:
        if os.path.exists(driver_root.join(root, f"{store}/{CUDA}")):
            return driver_root.join(root, store)
    folder = driver_root.join(root, STORES)
    folders = [f"{folder}/{name}" for name in driver_root.names(folder)]
    usable = [path for path in folders if os.path.exists(f"{path}/{CUDA}")]
    if not usable:
        hint = "in Windows, install a driver that supports CUDA in WSL"
        raise NvidiaRuntimeError(f"no driver has {CUDA}", where=folder, hint=hint)
    # Older drivers stay there after an update.
    return max(usable, key=lambda path: os.stat(f"{path}/{CUDA}").st_mtime_ns)


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
    options: Options, machine: Machine, library: str, store: str, warnings: list[str]
) -> Edits:
    names = driver_root.names(store)
    required = [name for name in REQUIRED if name in names]
    if missing := [name for name in REQUIRED if name not in names]:
        warnings.append(f"{store} has no {', '.join(missing)}")
    others = [
        name
        for name in names
        if name not in REQUIRED and any(driver_root.is_match(name, pattern) for pattern in OTHERS)
    ]
    files = [library, *(f"{store}/{name}" for name in required)]
    optional = [f"{store}/{name}" for name in others if os.path.isfile(f"{store}/{name}")]
    linked = [machine.driver.strip(f"{store}/{SMI}")] if SMI in required else []
    return {
        "hooks": [
            *hooks.create_symlinks(options.hook_program, [(f"/usr/bin/{SMI}", p) for p in linked]),
            *driver_files.ldcache_hook(options, [machine.driver.strip(path) for path in files]),
        ],
        "mounts": [entries.mount(path, machine.driver.strip(path)) for path in [*files, *optional]],
    }
