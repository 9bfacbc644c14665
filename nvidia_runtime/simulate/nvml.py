# SPDX-License-Identifier: Apache-2.0
"""The simulated NVML, and the file that it takes its answers from."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.simulate import compiler, elf
from nvidia_runtime.simulate.machine import Faults, SimulatedGpu, SimulatedMachine

SOURCE = "mock_nvml.c"
SONAME = "libnvidia-ml.so.1"
MISMATCH = 18
NOT_LOADED = 9
# What is at the end of a library; the nodes of its container decide what it shows of that.
MARK = b"mock-machine:"
SEES_BY_NODES = "[system]\nsees = nodes\n"


def carrying(machine: SimulatedMachine) -> bytes:
    """Return the library with its answers in it, for containers, which get it alone."""
    if machine.faults.without_code:
        return library(machine.faults)
    return library(machine.faults) + carried(machine)


def carried(machine: SimulatedMachine) -> bytes:
    """Return what a library carries at its end; mock_machine.h reads it."""
    text = f"{SEES_BY_NODES}{settings(machine)}".encode()
    return text + b"%s%010d" % (MARK, len(text))


def library(faults: Faults) -> bytes:
    """Return the library, without some functions.  Raises `NvidiaRuntimeError` where it cannot."""
    if faults.without_code:
        return elf.shared_object(SONAME, platform.machine())
    image = compiler.library(SOURCE, f"-Wl,-soname,{SONAME}")
    for function in faults.without:
        image = _without(image, function)
    return image


def _without(image: bytes, function: str) -> bytes:
    """Rename a function in the library, so that dlsym(3) does not find it.

    The first whole string that is its name is in the table of names, .dynstr.
    """
    name = b"\0" + function.encode() + b"\0"
    if not function.startswith("nvml") or name not in image:
        raise unknown(function)
    return image.replace(name, b"\0" + b"_" * len(function) + b"\0", 1)


def unknown(function: str) -> NvidiaRuntimeError:
    """Return the error of who names a function that the library does not have."""
    return NvidiaRuntimeError(f"the simulated NVML has no function {function!r}")


def settings(machine: SimulatedMachine) -> str:
    """Return the text of that file; its form is described in mock_machine.h."""
    return "".join(f"{line}\n" for line in (*_system(machine), *_gpus(machine)))


def _system(machine: SimulatedMachine) -> Iterator[str]:
    faults = machine.faults
    yield "[system]"
    yield f"driver_version = {machine.driver}"
    yield f"nvml_version = {machine.cuda // 1000}.{machine.driver}"
    yield f"cuda_version = {machine.cuda}"
    for kind in ("init_us", "attach_us", "call_us"):
        yield f"{kind} = {getattr(faults, kind)}"
    for kind in ("fail", "hang", "crash"):
        words = [word for word in getattr(faults, kind) if word.startswith("nvml")]
        yield from (f"{kind} = {word}" for word in words)
    if not machine.loaded:
        yield from _failing_init(NOT_LOADED)
    elif machine.module_version != machine.driver:
        yield from _failing_init(MISMATCH)


def _failing_init(code: int) -> Iterator[str]:
    yield f"fail = nvmlInit:{code}"
    yield f"fail = nvmlInitWithFlags:{code}"


def _gpus(machine: SimulatedMachine) -> Iterator[str]:
    for gpu in machine.own_gpus:
        yield from _gpu(gpu)
        for index, device in enumerate(gpu.mig_devices):
            yield "[mig]"
            yield f"index = {index}"
            yield f"uuid = {device.uuid}"
            yield f"gi = {device.gpu_instance}"
            yield f"ci = {device.compute_instance}"
            yield f"gi_profile = {device.gpu_profile}"
            yield f"ci_profile = {device.compute_profile}"
            yield f"start = {device.start}"
            yield f"size = {device.size}"


def _gpu(gpu: SimulatedGpu) -> Iterator[str]:
    yield "[gpu]"
    yield f"uuid = {gpu.uuid}"
    yield f"name = {gpu.name}"
    yield f"minor = {gpu.minor}"
    yield f"memory_mib = {gpu.memory_mib}"
    yield f"pci_device_id = {gpu.pci_device_id:#x}"
    yield f"pci_subsystem_id = {gpu.pci_subsystem_id:#x}"
    yield f"arch = {gpu.architecture}"
    yield f"brand = {gpu.brand}"
    yield f"cc = {gpu.compute_capability}"
    yield f"mig = {gpu.mig}"
    yield f"max_mig = {gpu.most_mig_devices}"
    yield f"addressing = {gpu.addressing}"
    yield f"fabric_state = {gpu.fabric_state}"
    yield f"lost = {int(gpu.lost)}"
    yield f"bus_id = {gpu.bus_id}" if gpu.bus_id else "pci = unsupported"
    if gpu.serial:
        yield f"serial = {gpu.serial}"
    yield f"integrated = {int(gpu.integrated)}"
    yield f"power_limit_w = {gpu.power_limit_w}"
    yield f"clock_mhz = {gpu.clock_mhz}"
    yield f"memory_clock_mhz = {gpu.memory_clock_mhz}"
    yield f"pcie_gen = {gpu.pcie_gen}"
    yield f"bar1_mib = {gpu.bar1_mib}"
    yield f"fan = {gpu.fan}"
    yield f"vbios = {gpu.vbios}"
    yield f"ecc = {gpu.ecc}"
    yield f"recovery = {gpu.recovery}"
    for size in gpu.gpu_profiles:
        numbers = (size.enum, size.id, size.slices, size.instances, size.multiprocessors)
        yield f"gi_profile = {' '.join(map(str, numbers))} {size.memory_mib} {size.name}"
    for part in gpu.compute_profiles:
        yield f"ci_profile = {part.enum} {part.id} {part.slices}"
