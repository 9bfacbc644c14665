# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of a Tegra system, by its CSV lists: the GPU of the SoC, and a card beside it."""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import (
    assemble,
    csv_lists,
    csv_mixed,
    driver_files,
    entries,
    hooks,
    naming,
)
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.host import platform, tegra
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.host.nodes import DeviceNode
    from nvidia_runtime.host.nvml import Inventory

    Device = dict[str, Any]
    Edits = dict[str, Any]

ONE_GPU_FLAG = "disable-multiple-csv-devices"
# The GPU of a SoC with libraries of its own for newer CUDA versions.
ORIN = "Orin (nvgpu)"
ORIN_COMPAT = "/usr/local/cuda/compat_orin"


class ListedFiles:
    """What this machine has of the lists: the files of each entry."""

    __slots__ = ("dirs", "libs", "nodes", "syms")

    def __init__(self, options: Options, machine: Machine, rows: dict[str, list[str]]) -> None:
        root = machine.driver.root
        syms = csv_lists.without(rows["sym"], options.csv_ignored)
        self.nodes = tegra.find_nodes(machine.dev_root, rows["dev"])
        self.libs = tegra.find_files(root, options.library_folders, rows["lib"])
        self.dirs = tegra.find_folders(root, rows["dir"])
        self.syms = tegra.find_links(root, syms)

    def missing(self) -> list[str]:
        """Return the entries without a file on this machine."""
        kinds: tuple[dict[str, Any], ...] = (self.nodes, self.libs, self.dirs, self.syms)
        return [entry for kind in kinds for entry, files in kind.items() if not files]


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the CDI spec of a Tegra system.

    Raises `NvidiaRuntimeError` for ids that it does not have, and if the lists have no devices.
    """
    rows, warnings = csv_lists.read(options.csv_files or csv_lists.present())
    listed = ListedFiles(options, machine, rows)
    inventory = _ask(machine, warnings)
    common = _common(options, machine, listed, inventory, warnings)
    nodes = list({node.path: node for group in listed.nodes.values() for node in group}.values())
    chosen = _choose(options, machine, nodes, inventory, warnings)
    generated = Generated(assemble.spec(options, chosen.devices, common))
    edits = generated.spec["containerEdits"]
    generated.hidden = [assemble.finish(entry, edits, options) for entry in chosen.hidden]
    generated.problems = chosen.problems
    if missing := listed.missing():
        warnings.append(f"left out what the lists name and is not here: {', '.join(missing)}")
    generated.warnings = warnings
    generated.watched = [*(options.csv_files or csv_lists.DEFAULT), *_watched(machine, listed)]
    return generated


def _choose(
    options: Options,
    machine: Machine,
    nodes: list[DeviceNode],
    inventory: Inventory | None,
    warnings: list[str],
) -> csv_mixed.TegraDevices:
    """Choose the devices: by all GPUs if there are several, else by the lists alone."""
    if "none" in options.ids:
        return csv_mixed.TegraDevices([assemble.device("none", {"env": [assemble.EMPTY]})])
    gpus = inventory.gpus if inventory and ONE_GPU_FLAG not in options.flags else []
    if len(gpus) < 2:
        return _pure(options, nodes)
    try:
        return csv_mixed.choose(options, machine, nodes, gpus)
    except csv_mixed.UnfitError as error:
        warnings.append(f"{error}; taking what the lists name for one GPU")
        names = [f"{gpu.index} ({gpu.uuid})" if gpu.uuid else f"{gpu.index}" for gpu in gpus]
        chosen = _pure(options, nodes, f"{error}; GPUs are {', '.join(names)}")
    chosen.hidden = csv_mixed.cards(options, machine, nodes, gpus)
    return chosen


def _pure(options: Options, nodes: list[DeviceNode], why: str = "") -> csv_mixed.TegraDevices:
    """Return the one device of the lists; ``why`` says why there are no others."""
    for name in options.ids:
        if name not in ("all", "0"):
            hint = why or "this system has device 0, which is also called all"
            raise NvidiaRuntimeError(f"unsupported device id: {name}", hint=hint)
    edits = entries.of_nodes(nodes, options.with_gids)
    if not edits and options.empty_devices:
        edits = {"env": [assemble.VOID]}
    if not edits:
        what = "none of the device nodes that the CSV lists name is on this machine"
        files = options.csv_files or csv_lists.DEFAULT
        hint = "--csv.file names the lists, --dev-root where the nodes are"
        raise NvidiaRuntimeError(what, where=", ".join(files), hint=hint)
    names = naming.names(options.strategies, "0", "")
    if not names:
        hint = "name it by index: --device-name-strategy=index"
        raise NvidiaRuntimeError("device 0 has no UUID to be named by", hint=hint)
    return csv_mixed.TegraDevices([assemble.device(name, edits) for name in names])


def _common(
    options: Options,
    machine: Machine,
    listed: ListedFiles,
    inventory: Inventory | None,
    warnings: list[str],
) -> Edits:
    """Return the edits of every container: the lists' files, and the hooks for them."""
    libraries = [file for files in listed.libs.values() for file in files]
    links = [link for followed in listed.syms.values() for link in followed]
    mounts = _mounts(machine, listed, libraries)
    program = options.hook_program
    chain = [step for link in links for step in link.steps]
    container_paths = [entry["containerPath"] for entry in mounts]
    return {
        "hooks": [
            *driver_files.symlinks_hook(options, machine.driver, libraries, warnings),
            *hooks.create_symlinks(program, chain),
            *_compat_hook(options, inventory),
            *driver_files.ldcache_hook(options, container_paths),
        ],
        "mounts": mounts,
    }


def _mounts(machine: Machine, listed: ListedFiles, libraries: list[str]) -> list[Edits]:
    root = machine.driver.root
    files = [*libraries, *(link.file for links in listed.syms.values() for link in links)]
    mounts = [entries.mount(file, machine.driver.strip(file)) for file in dict.fromkeys(files)]
    for folder in (folder for folders in listed.dirs.values() for folder in folders):
        host_path = driver_root.source(driver_root.join(root, folder), root)
        mounts.append(entries.mount(host_path, folder))
    release = machine.kernel_root + platform.RELEASE  # of the running system, not the driver's
    if os.path.isfile(release):
        mounts.append(entries.mount(release, platform.RELEASE))
    return mounts


def _compat_hook(options: Options, inventory: Inventory | None) -> list[Edits]:
    """Return the hook for an image's newer CUDA libraries; only NVML knows the host's version."""
    if not inventory or not inventory.cuda:
        return []
    args = [f"--host-cuda-version={inventory.cuda}"]
    if any(ORIN in gpu.name for gpu in inventory.gpus):
        folder = options.compat_container_root or ORIN_COMPAT
        args.append(f"--cuda-compat-container-root={folder}")
    return [hooks.hook(options.hook_program, "enable-cuda-compat", *args)]


def _ask(machine: Machine, warnings: list[str]) -> Inventory | None:
    """Ask NVML, which older systems lack."""
    if not machine.has_nvml():
        return None
    try:
        inventory = machine.nvml()
    except NvidiaRuntimeError as error:
        warnings.append(f"NVML does not answer, going by the CSV lists alone: {error}")
        return None
    warnings += inventory.warnings
    return inventory


def _watched(machine: Machine, listed: ListedFiles) -> list[str]:
    """Return what may change the spec: links, missing entries, folders of patterns."""
    root = machine.driver.root.rstrip("/")
    links = [link for followed in listed.syms.values() for link in followed]
    watched = [f"{root}{path}" for link in links for path, _ in link.steps]
    watched.append(f"{root}{platform.CACHE}")  # leads to NVML
    dev_root = machine.dev_root.rstrip("/")
    watched += _open_entries(f"{dev_root}{tegra.DEV}", dev_root, listed.nodes)
    for entries_of in (listed.libs, listed.dirs, listed.syms):
        watched += _open_entries(root, root, entries_of)
    return list(dict.fromkeys(watched))


def _open_entries(folder: str, root: str, listed: Mapping[str, list[Any]]) -> list[str]:
    """Return the host's paths of entries whose files may change."""
    paths = []
    for entry, files in listed.items():
        path = root + entry if entry[:1] == "/" else f"{folder}/{entry}"
        if tegra.MAGIC.intersection(path):
            paths.append(_folder_of(path))
        elif not files:
            paths.append(path)
    return paths


def _folder_of(pattern: str) -> str:
    """Return the folder above everything that a pattern can match."""
    parts = pattern.split("/")
    plain = next(at for at, part in enumerate(parts) if tegra.MAGIC.intersection(part))
    return "/".join(parts[:plain]) or "/"
