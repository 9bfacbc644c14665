# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of a machine with NVML: GPUs, MIG devices, the driver."""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import (
    assemble,
    compat32,
    devices,
    driver_files,
    graphics,
    hooks,
    naming,
)
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.generate.selection import GpuDevice, select
from nvidia_runtime.host import gpus
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.machine import Machine

    Edits = dict[str, Any]
    Device = dict[str, Any]

NONE = "none"
COHERENT_FLAG = "enable-coherent-annotations"
COHERENT = "gpu.nvidia.com/coherent"
NODES_HINT = "'nvidia-smi' as root makes it"


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the spec of GPUs and driver.

    Raises `NvidiaRuntimeError` for an unknown id, without a driver, or without a usable device if
    there must be one.
    """
    if NONE in options.ids:
        return _without_gpus(options, machine)
    is_coherent = COHERENT_FLAG in options.flags
    present = gpus.ask(machine) if is_coherent else gpus.find(machine, options.thorough)
    chosen, others = select(present, options.ids)
    warnings = machine.warnings()
    shared = common(options, machine, warnings)
    problems: dict[str, str] = {}
    entries = [entry for device in chosen for entry in _devices(device, options, machine, problems)]
    if not entries and not options.empty_devices:
        raise _nothing(problems, others)
    generated = Generated(assemble.spec(options, entries, shared))
    generated.problems = problems
    generated.warnings = warnings
    generated.watched = watched(machine)
    if driver_files.NO_IPC_FLAG not in options.flags:
        generated.shared = driver_files.mps_mounts(machine)
    generated.hidden = [
        assemble.finish(entry, generated.spec["containerEdits"], options)
        for device in others
        for entry in _devices(device, options, machine, {})
    ]
    _note_compat32(generated, options, machine)
    return generated


def common(options: Options, machine: Machine, warnings: list[str]) -> Edits:
    """Return the edits of every container: control nodes, the driver's files, hooks."""
    version = machine.version()
    program = options.hook_program
    parts = [devices.control(options, machine)]
    if version:
        parts.append(graphics.edits(machine.driver, version, program))
        warnings += graphics.missing_module(machine.driver, version)
    parts.append(driver_files.edits(options, machine, version, warnings))
    if compat32.FLAG in options.flags:
        parts.append(compat32.edits(options, machine, version, warnings))
    last = ("disable-device-node-modification", "update-application-profile")
    parts.append({"hooks": [hooks.hook(program, name) for name in last]})
    return assemble.merge(parts)


def watched(machine: Machine) -> list[str]:
    """Return the host's files and folders whose change can change the spec."""
    paths = driver_files.watched(machine, machine.version())
    hidden = [f"/dev/nvidia{gpu.minor}" for gpu in gpus.without_node(machine) if gpu.minor >= 0]
    paths += [driver_root.join(machine.dev_root, path) for path in hidden]
    return list(dict.fromkeys([*paths, *graphics.watched(machine.driver, machine.version())]))


def _note_compat32(generated: Generated, options: Options, machine: Machine) -> None:
    """Note what a container gets that asks for compat32, where creates ask, unless all get it.

    Packages bring these files, and renew the loader's cache; where there are some, their folders
    are watched, too.
    """
    edits: Edits = {}
    if options.with_compat32 and compat32.FLAG not in options.flags:
        edits = compat32.edits(options, machine, machine.version(), [])
    if edits:
        entry = assemble.device(compat32.NAME, edits)
        common = generated.spec["containerEdits"]
        generated.compat32 = assemble.finish(entry, common, options)
        paths = [mount["hostPath"] for mount in edits["mounts"]]
        generated.watched += dict.fromkeys(map(os.path.dirname, paths))


def _without_gpus(options: Options, machine: Machine) -> Generated:
    """Generate the spec of the driver alone."""
    warnings: list[str] = []
    shared = common(options, machine, warnings)
    entries = [assemble.device(NONE, {"env": [assemble.EMPTY]})]
    generated = Generated(assemble.spec(options.but(merged_device=False), entries, shared))
    generated.warnings = warnings
    generated.watched = watched(machine)
    _note_compat32(generated, options, machine)
    return generated


def _devices(
    device: GpuDevice, options: Options, machine: Machine, problems: dict[str, str]
) -> list[Device]:
    """Return a device by all its names, or note its problem."""
    problem = device.gpu.problem or (device.mig.problem if device.mig else "")
    edits: Edits = {}
    if not problem:
        edits = _edits(device, options, machine)
        problem = "" if edits else _missing(device, machine)
    if problem:
        names = naming.names(naming.STRATEGIES, device.index(), device.uuid())
        problems |= dict.fromkeys(names, problem)
        return []
    annotations = None
    if COHERENT_FLAG in options.flags and not device.mig:
        annotations = {COHERENT: "true" if device.gpu.is_coherent else "false"}
    names = naming.names(options.strategies, device.index(), device.uuid())
    return [assemble.device(name, edits, annotations) for name in names]


def _edits(device: GpuDevice, options: Options, machine: Machine) -> Edits:
    if device.mig:
        return devices.mig_device(options, machine, device.gpu, device.mig)
    return devices.full_gpu(options, machine, device.gpu)


def _missing(device: GpuDevice, machine: Machine) -> str:
    """Say which node of a device is missing."""
    missing = devices.missing_node(machine, device.gpu, device.mig)
    what = f"MIG device {device.index()}" if device.mig else f"GPU {device.index()}"
    return f"{what}: {missing} is missing; {NODES_HINT}"


def _nothing(problems: dict[str, str], others: list[GpuDevice]) -> NvidiaRuntimeError:
    """Say why there is no device: all have problems, or are in MIG mode and empty, or missing."""
    if problems:
        what = "; ".join(dict.fromkeys(problems.values()))
        return NvidiaRuntimeError(f"no device is usable: {what}")
    if any(device.gpu.is_mig for device in others):
        hint = "'nvidia-smi mig -cgi PROFILE -C' makes some, 'nvidia-smi -mig 0' ends MIG mode"
        return NvidiaRuntimeError("all GPUs are in MIG mode and have no MIG device", hint=hint)
    hint = "'lspci -d 10de:' shows GPUs, dmesg why the driver does not take them"
    return NvidiaRuntimeError("the driver knows no GPU", hint=hint)
