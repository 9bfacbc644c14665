# SPDX-License-Identifier: Apache-2.0
"""Make machine files: what this machine has, generated once, for all creates to come."""

from __future__ import annotations

import os
import time

from nvidia_runtime.compile import keep
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, changes, devices
from nvidia_runtime.generate import machine as generator
from nvidia_runtime.generate.options import Options
from nvidia_runtime.host import drm, platform, shared_places
from nvidia_runtime.host import machine as host_machine
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.store import files, machine_file
from nvidia_runtime.store.lines import Source, seal
from nvidia_runtime.store.snapshot import DRIVER_ROOT, NO_GIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Generated
    from nvidia_runtime.host.machine import Machine as HostMachine
    from nvidia_runtime.store.machine_file import MachineFile
    from nvidia_runtime.store.snapshot import Settings, Snapshot

    Stamps = dict[str, list[Any]]

DRIVER = "/proc/driver/nvidia"
GPUS = f"{DRIVER}/gpus"
CAPABILITIES = f"{DRIVER}/capabilities"
# Cold swaps and other numbers of nodes come with a boot; other libraries with another version.
TEXTS = (
    "/proc/sys/kernel/random/boot_id",
    "/sys/module/nvidia/version",
    "/sys/module/nvidia/srcversion",
)
MODULE = "/sys/module/nvidia"
# Has a link for each GPU that the driver is bound to.
BOUND = "/sys/bus/pci/drivers/nvidia"
# May appear when the driver is at work already: nvidia-drm and udev come later than the GPUs.
LATE = (*devices.CONTROL, "/dev/dri", drm.BY_PATH)
KERNEL_FOLDERS = ("/proc/", "/sys/")
HOOK_PROGRAM = "nvidia-ctk.path"
CSV = "nvidia-container-runtime.modes.csv"
JIT = "nvidia-container-runtime.modes.jit-cdi"
CSV_FILES = ("l4t.csv", "drivers.csv", "devices.csv")


def sources(
    ids: tuple[str, ...], snapshot: Snapshot, variant: str, warnings: list[str]
) -> tuple[list[Source], MachineFile]:
    """Look ids up in a new machine file, else in the machine, which is asked once for both.

    The file is returned, too.  ``warnings`` gets what is odd about the machine.  Raises
    `NvidiaRuntimeError` for an id that the machine lacks, and for one of a sick device.
    """
    options = options_for(snapshot.settings, variant)
    machine = generator.look(options)
    compiled = _compile(snapshot, variant, options, machine)
    warnings += compiled.warnings()
    devices, missing = machine_file.sources(ids, compiled)
    if missing:
        devices = [
            *_exactly(options.but(ids=ids), variant, machine),
            *machine_file.shared(compiled),
        ]
    return devices, compiled


def _compile(
    snapshot: Snapshot, variant: str, options: Options, machine: HostMachine
) -> MachineFile:
    """Generate and return a machine file, and keep it for the next create if nothing is in flux."""
    began = time.time_ns()
    before = _kernel_stamps()
    generated = generator.generate(options, machine)
    key = machine_file.key(snapshot, variant)
    stamps = _stamps(generated, before, snapshot, options.driver_root)
    data = _text(key, generated, stamps, platform_of(machine))
    if before == _kernel_stamps() and keep.is_settled(stamps["files"], began):
        folder = files.state_folder(make=True)
        keep.keep(folder and machine_file.file_of(folder, key), data)
    return machine_file.MachineFile(data, key)


def _exactly(options: Options, variant: str, machine: HostMachine) -> list[Source]:
    """Generate for ids that the machine file lacks, which the machine may know all the same.

    A MIG device has another name since driver 470; WSL takes any where NVML is silent.
    """
    options.strategies = ("index",)
    generated = generator.generate(options, machine)
    if generated.problems:
        raise NvidiaRuntimeError("; ".join(dict.fromkeys(generated.problems.values())))
    parts = [*generated.spec["devices"], generated.spec]
    origin = keep.text({"generator": variant})
    return [
        Source(
            f"{machine_file.KIND}={part['name']}" if "name" in part else "",
            origin,
            keep.edits(part),
        )
        for part in parts
    ]


def options_for(settings: Settings, variant: str) -> Options:
    """Return what the settings say of generation; ``variant`` is auto, csv or csv-all.

    It may also be driver, for the files of a driver alone: no GPU is looked at.
    """
    options = Options("csv" if variant.startswith("csv") else "auto")
    options.ids = ("none",) if variant == "driver" else options.ids
    options.driver_root = str(settings[DRIVER_ROOT]) or "/"
    options.path = files.environment(b"PATH")
    options.data_dirs = files.environment(b"XDG_DATA_DIRS")
    options.hook_program = lowlevel.executable(
        str(settings[HOOK_PROGRAM]), "nvidia-ctk", options.path
    )
    options.vendor, _, options.device_class = machine_file.KIND.partition("/")
    options.disabled_hooks = frozenset(settings[f"{JIT}.nvcdi-disable-hooks"])
    options.flags = frozenset(settings[f"{JIT}.nvcdi-feature-flags"])
    options.merged_device = False
    options.with_compat32 = True
    options.with_gids = not settings[NO_GIDS]
    options.csv_files = _csv_files(str(settings[f"{CSV}.mount-spec-path"]), variant == "csv-all")
    options.empty_devices = True  # then `all` is the driver alone
    options.compat_container_root = str(settings[f"{CSV}.compat-container-root"])
    return options


def platform_of(machine: HostMachine | None = None) -> str:
    """Return the mode that ``auto`` means, asked of NVML where files leave it open.

    ``machine`` has asked it already if it is the host itself, whose driver decides.
    """
    if mode := platform.mode():
        return mode
    return host_machine.auto_mode(machine if machine and machine.driver.root == "/" else None)


def _csv_files(folder: str, is_all: bool) -> tuple[str, ...]:
    """List the files of a folder: by default the three that L4T has, not those of JetPack."""
    names = driver_root.names(folder)
    chosen = [n for n in names if n.lower().endswith(".csv") and (is_all or n in CSV_FILES)]
    return tuple(f"{folder.rstrip('/')}/{name}" for name in chosen)


def _kernel_stamps() -> Stamps:
    """Read what tells of other GPUs, another driver, another partition of a GPU."""
    addresses = machine_file.list_names(GPUS)
    bound = [f"{folder}/{name}" for folder in (GPUS, BOUND) for name in addresses or ()]
    gpus = machine_file.list_names(CAPABILITIES)
    lists = [[GPUS, addresses], [CAPABILITIES, gpus]]
    for gpu in gpus or ():
        mig = f"{CAPABILITIES}/{gpu}/mig"
        instances = machine_file.list_names(mig)
        if instances is None:
            continue
        lists.append([mig, instances])
        for name in instances:
            if name.startswith("gi"):
                lists.append([f"{mig}/{name}", machine_file.list_names(f"{mig}/{name}")])
    return {
        "texts": [[path, files.read_text(path)] for path in TEXTS],
        "lists": lists,
        "objects": [[path, machine_file.object_number(path)] for path in (MODULE, *bound)],
    }


def _stamps(generated: Generated, kernel: Stamps, snapshot: Snapshot, root: str) -> Stamps:
    """Stamp everything that the edits name, and what was looked at to make them."""
    nodes: dict[str, None] = {}
    watched: dict[str, None] = {}
    mounted: dict[str, None] = {}
    texts, lists = list(kernel["texts"]), list(kernel["lists"])
    for part in [generated.spec, *generated.spec["devices"], *generated.hidden]:
        edits = part.get("containerEdits") or {}
        for node in edits.get("deviceNodes") or ():
            nodes[node.get("hostPath") or node["path"]] = None
        mounted |= dict.fromkeys(mount["hostPath"] for mount in edits.get("mounts") or ())
    watched[str(snapshot.settings[f"{CSV}.mount-spec-path"])] = None
    watched |= dict.fromkeys(root.rstrip("/") + path for path in LATE)
    for path in generated.watched:
        if not path.startswith(KERNEL_FOLDERS):
            watched[path] = None
        elif os.path.isdir(path):
            lists.append([path, machine_file.list_names(path)])
        else:
            texts.append([path, files.read_text(path)])
    # A file comes and goes with a change of its folder; what is in it does not count.
    watched |= dict.fromkeys(path for path in mounted if os.path.dirname(path) not in watched)
    return {
        "texts": texts,
        "lists": lists,
        "objects": kernel["objects"],
        "nodes": [_node(path) for path in nodes if os.path.lexists(path)],
        "files": [[path, *(files.stamp(path) or ())] for path in watched if path not in nodes],
    }


def _node(path: str) -> list[Any]:
    status = os.lstat(path)
    return [path, status.st_rdev, status.st_mode, status.st_gid]


def _text(key: list[Any], generated: Generated, stamps: Stamps, mode: str) -> bytes:
    spec = generated.spec
    origin: dict[str, Any] = {"generator": key[4]}
    if places := shared_places.of_mounts(changes.mounts(spec)):
        origin["shared"] = places
    lines = [keep.text(stamps), f"@0\t{keep.text(origin)}\t{keep.edits(spec)}"]
    order: dict[str, int] = {}  # by edits: a device's names all lead to the same
    everything: list[dict[str, Any]] = []
    for device in [*spec["devices"], *generated.hidden]:
        if device["name"] == "all":  # of WSL, which may have no other
            continue
        edits = keep.edits(device)
        if edits not in order and device in spec["devices"]:
            everything.append(device)
        number = order.setdefault(edits, len(order))
        lines.append(f"{machine_file.KIND}={device['name']}\t{number}\t{edits}")
    lines.append(f"{machine_file.KIND}=all\t0\t{keep.edits(_all(everything or spec['devices']))}")
    lines.append(f'{machine_file.KIND}=none\t0\t{{"env":["{assemble.EMPTY}"]}}')
    problems = dict(generated.problems)
    if problems:
        problems["all"] = "; ".join(dict.fromkeys(problems.values()))
        lines = [line for line in lines if not line.startswith(f"{machine_file.KIND}=all\t")]
    for mount in generated.shared:
        edits = keep.edits({"containerEdits": {"mounts": [mount]}})
        place = keep.text(mount["hostPath"])
        lines.append(f"{machine_file.SHARED}\t{place}\t{keep.text(origin)}\t{edits}")
    if generated.compat32:
        origin32 = keep.text({"generator": machine_file.COMPAT32[1:]})
        lines.append(f"{machine_file.COMPAT32}\t{origin32}\t{keep.edits(generated.compat32)}")
    if generated.warnings:
        lines.append(f"{machine_file.WARNINGS}\t{keep.text(generated.warnings)}")
    lines += [f"!{machine_file.KIND}={name}\t{keep.text(text)}" for name, text in problems.items()]
    rest = "".join(f"{seal(line)}\n" for line in lines)
    header = {"key": key, "length": len(rest), "platform": mode}
    return f"{seal(keep.text(header))}\n{rest}".encode("ascii")


def _all(devices: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all devices in one, as if they were injected one after the other.

    A node that several have comes where the last of them has it.
    """
    merged: dict[str, Any] = {}
    for device in devices:
        for field, values in device["containerEdits"].items():
            present = merged.setdefault(field, [])
            for value in values:
                if value in present:
                    present.remove(value)
                present.append(value)
    return {"containerEdits": merged}
