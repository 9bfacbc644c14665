# SPDX-License-Identifier: Apache-2.0
"""The CDI spec of a machine with the driver's management library: GPUs, MIG devices, the driver.

Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import assemble, devices, driver_files, graphics, hooks, naming
from nvidia_runtime.generate.options import Generated
from nvidia_runtime.generate.selection import Chosen, select
from nvidia_runtime.host import gpus

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
NODES_HINT = "'nvidia-smi' as root makes it, and 'nvidia-ctk system create-device-nodes'"


def generate(options: Options, machine: Machine) -> Generated:
    """Generate the spec of GPUs and driver.

    Raises `NvidiaRuntimeError` for an unknown id, without a driver, or if no device is left and
    there must be one.
    """
    if NONE in options.ids:
        return _without_gpus(options, machine)
    is_coherent = COHERENT_FLAG in options.flags
    found = gpus.ask(machine) if is_coherent else gpus.find(machine, options.thorough)
    chosen, others = select(found, options.ids)
    warnings = machine.warnings()
    everything = common(options, machine, warnings)
    problems: dict[str, str] = {}
    made = [each for one in chosen for each in _devices(one, options, machine, problems)]
    if not made and not options.empty_devices:
        raise _nothing(problems, others)
    generated = Generated(assemble.spec(options, made, everything))
    generated.problems = problems
    generated.warnings = warnings
    generated.watched = watched(machine)
    generated.hidden = [
        assemble.finish(each, generated.spec["containerEdits"], options)
        for one in others
        for each in _devices(one, options, machine, {})
    ]
    return generated


def common(options: Options, machine: Machine, warnings: list[str]) -> Edits:
    """Return the edits of every container: control nodes, the driver's files, hooks."""
    version = machine.version()
    program = options.hook_program
    parts = [devices.control(options, machine)]
    if version:
        parts.append(graphics.edits(machine.driver, version, program))
    parts.append(driver_files.edits(options, machine, version, warnings))
    last = ("disable-device-node-modification", "update-application-profile")
    parts.append({"hooks": [hooks.hook(program, name) for name in last]})
    return assemble.merge(parts)


def watched(machine: Machine) -> list[str]:
    """Return the host's files and folders that were looked at."""
    found = driver_files.watched(machine, machine.version())
    return list(dict.fromkeys([*found, *graphics.watched(machine.driver, machine.version())]))


def _without_gpus(options: Options, machine: Machine) -> Generated:
    """Generate the spec of the driver alone."""
    warnings: list[str] = []
    everything = common(options, machine, warnings)
    made = [assemble.device(NONE, {"env": [assemble.EMPTY]})]
    generated = Generated(assemble.spec(options.but(merged_device=False), made, everything))
    generated.warnings = warnings
    generated.watched = watched(machine)
    return generated


def _devices(
    one: Chosen, options: Options, machine: Machine, problems: dict[str, str]
) -> list[Device]:
    """Return a device by all its names, or add to the problems why there is none."""
    problem = one.gpu.problem or (one.mig.problem if one.mig else "")
    edits: Edits = {}
    if not problem:
        edits = _edits(one, options, machine)
        problem = "" if edits else _missing(one, machine)
    if problem:
        names = naming.names(naming.STRATEGIES, one.index(), one.uuid())
        problems |= dict.fromkeys(names, problem)
        return []
    annotations = None
    if COHERENT_FLAG in options.flags and not one.mig:
        annotations = {COHERENT: "true" if one.gpu.is_coherent else "false"}
    names = naming.names(options.strategies, one.index(), one.uuid())
    return [assemble.device(name, edits, annotations) for name in names]


def _edits(one: Chosen, options: Options, machine: Machine) -> Edits:
    if one.mig:
        return devices.mig_device(options, machine, one.gpu, one.mig)
    return devices.full_gpu(options, machine, one.gpu)


def _missing(one: Chosen, machine: Machine) -> str:
    """Say which node a device lacks."""
    missing = devices.missing_node(machine, one.gpu, one.mig)
    what = f"MIG device {one.index()}" if one.mig else f"GPU {one.index()}"
    return f"{what}: {missing} is missing; {NODES_HINT}"


def _nothing(problems: dict[str, str], others: list[Chosen]) -> NvidiaRuntimeError:
    """Say why there is no device: all are sick, or in MIG mode and empty, or there is none."""
    if problems:
        what = "; ".join(dict.fromkeys(problems.values()))
        return NvidiaRuntimeError(f"no device is usable: {what}")
    if others:
        hint = "'nvidia-smi mig -cgi PROFILE -C' makes some, 'nvidia-smi -mig 0' ends MIG mode"
        return NvidiaRuntimeError("all GPUs are in MIG mode and have no MIG device", hint=hint)
    hint = "'lspci -d 10de:' shows GPUs, dmesg why the driver does not take them"
    return NvidiaRuntimeError("the driver knows no GPU", hint=hint)
