# SPDX-License-Identifier: Apache-2.0
"""What the GPUs say of themselves, by NVML, and what the kernel has said of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.devices import mig, nodes
from nvidia_runtime.doctor.finding import (
    ERROR,
    NOTE,
    WARNING,
    Code,
    Finding,
    Fine,
    Skipped,
    Step,
)
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.host import driver, facts, gpus, nvml_problems, platform, proc, processes
from nvidia_runtime.host import root as driver_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine
    from nvidia_runtime.host.nvml import Inventory

# Seconds for all GPUs: less than doctor has, so that what is known by then is said.
LIMIT = 3.0
# Seconds after which it is said; a busy machine takes tenths.
LONG = 1.0
PERSISTENCED = "nvidia-persistenced"
PERSISTENCED_SOCKET = "/run/nvidia-persistenced/socket"
# As many GPUs as are ready within the limit even where each has to start first.
FEW = 1

SICK = Code(
    "NCT-0221",
    ERROR,
    "a GPU cannot be used",
    """
    NVML, the driver's library, returns an error for it: it has fallen off the bus (Xid 79, "GPU is
    lost"), needs a reset, or has a broken memory of its settings.  Containers get the other GPUs;
    one that asks for this one or for all is refused.
    """,
    """
    dmesg has the driver's reasons, in lines with NVRM and Xid.  nvidia-smi --gpu-reset -i N may
    mend it while nothing uses it; then a restart, then a cold one.  A GPU that is lost again and
    again is broken, too hot or short of power.
    """,
)
SILENT = Code(
    "NCT-0222",
    ERROR,
    "NVML crashes or hangs at a GPU",
    """
    The driver's library did not come back from asking about this GPU, or crashed.  Engines that ask
    it in their own process hang with it: containers stay in "Created", kubelet's device plugin
    restarts.  We ask it in a process of its own, so other GPUs are given to containers.
    """,
    """
    dmesg has the driver's reasons.  If nvidia-smi -i N hangs, too, restart the machine: what waits
    in the driver cannot be ended.
    """,
)
LOST = Code(
    "NCT-0223",
    ERROR,
    "the driver lists a GPU that NVML does not know",
    """
    /proc/driver/nvidia/gpus has it, and there is its device node, but NVML leaves it out: it could
    not be started, or has fallen off the bus.
    """,
    """
    dmesg has the driver's reasons, in lines such as "RmInitAdapter failed" or "Xid 79".
    """,
)
NVML_FAILS = Code(
    "NCT-0224",
    ERROR,
    "NVML, the driver's library, cannot be used",
    """
    It cannot be loaded, does not start, crashes or hangs, for all GPUs at once.  nvidia-smi uses
    the same library and fails alike ("Failed to initialize NVML").
    """,
    """
    Run nvidia-smi; if it works, look at the permissions of /dev/nvidiactl for the user that you
    are. A library that cannot be loaded is damaged or another architecture's: install the driver
    again.
    """,
)
ELSEWHERE = Code(
    "NCT-0225",
    NOTE,
    "the machine has GPUs that are not of this place",
    """
    An engine inside of a container (docker in docker, kind, LXD, a CI runner) sees all GPUs of the
    machine in /proc, and has nodes for some.  'all' means those.
    """,
    """
    Nothing is wrong.  More GPUs come by starting the outer container with them.
    """,
)
SLOW = Code(
    "NCT-0226",
    WARNING,
    "GPUs take long to start",
    """
    Without persistence mode the driver stops a GPU when its last user closes it, and starts it
    anew, ECC memory and all, for the next: 1 to 3 seconds for each GPU and each program that asks
    them. Engines give up: "driver rpc error: timed out".
    """,
    """
    systemctl enable --now nvidia-persistenced; 'nvidia-smi -pm 1' does the same until the next
    boot.
    """,
)
CODES = (SICK, SILENT, LOST, NVML_FAILS, ELSEWHERE, SLOW)


def check(machine: Machine, numbers: dict[str, int]) -> Iterator[Said]:
    """Ask NVML, and compare what it says with the driver's list and the nodes."""
    listed = proc.gpus(machine.kernel_root)
    inventory = None
    if _fits(machine):
        count = max(len(listed), 1)
        machine.patience, machine.limit = LIMIT / (1 + count / 4), LIMIT
        yield Step(f"NVML, for {count} GPU{'s'[: count > 1]}")
        try:
            gpus.ask(machine)
            inventory = machine.nvml()
        except NvidiaRuntimeError as error:
            yield _failure(error, count)
    else:
        why = "its library does not fit the loaded driver, or is not there"
        yield Skipped("what GPUs say of themselves", why)
    yield from _nodes(machine, numbers, listed, inventory)
    if inventory:
        yield from _judge(machine, inventory, listed)
        yield from mig.empty(inventory.gpus)


def _fits(machine: Machine) -> bool:
    """Whether NVML is of the loaded version; the driver's own area says what is wrong else."""
    prefix = facts.VERSIONED[1]
    try:
        version = machine.version()
        libraries = driver.main_libraries(machine.driver, prefix, version)
        return machine.has_nvml() and (bool(libraries) or platform.is_soc(""))
    except NvidiaRuntimeError:
        return False


def _failure(error: NvidiaRuntimeError, count: int) -> Finding:
    """Return what is wrong where no GPU was told of."""
    is_slow = "did not answer" in error.what and count > FEW and not _is_persistent()
    what = error.what
    if is_slow:
        what += f"; without {PERSISTENCED}, {count} GPUs may need longer, nvidia-smi -L tells"
    severity = WARNING if is_slow else ""
    return Finding(
        code=NVML_FAILS, what=what, where=error.where, command="nvidia-smi -L", severity=severity
    )


def _is_persistent() -> bool:
    return os.path.lexists(PERSISTENCED_SOCKET) or processes.is_running(PERSISTENCED)


def _nodes(
    machine: Machine, numbers: dict[str, int], listed: list[Gpu], inventory: Inventory | None
) -> Iterator[Said]:
    """Say which GPUs have no node; NVML does not tell of those that another place has."""
    answered = {gpu.bus_id for gpu in inventory.gpus} if inventory else set()
    absent = [
        gpu
        for gpu in listed
        if gpu.minor >= 0 and nodes.is_missing(machine, f"/dev/nvidia{gpu.minor}")
    ]
    # Where NVML was not asked: a container that has some of them.
    is_part = len(absent) < len(listed) and not processes.sees_all()
    missing = [gpu for gpu in absent if (gpu.bus_id in answered if answered else not is_part)]
    others = [gpu for gpu in absent if gpu not in missing]
    if missing:
        paths = {f"/dev/nvidia{gpu.minor}" for gpu in missing}
        expected = [n for n in nodes.of_gpus(machine, numbers) if n.path in paths]
        place = driver_root.join(machine.dev_root, expected[0].path)
        named = some([f"nvidia{gpu.minor} ({gpu.bus_id})" for gpu in missing])
        what = f"there is no {driver_root.join(machine.dev_root, '/dev')}/{named}"
        command = nodes.making(machine, expected)
        yield Finding(code=nodes.GPU_NODE_MISSING, what=what, where=place, command=command)
    if others:
        what = f"{gpus.OTHERS}: {some([gpu.bus_id for gpu in others])}"
        yield Finding(code=ELSEWHERE, what=what, where=proc.GPUS)


def _judge(machine: Machine, inventory: Inventory, listed: list[Gpu]) -> Iterator[Said]:
    for code in (SILENT, SICK):
        sick = [g for g in inventory.gpus if g.problem and g.is_silent == (code is SILENT)]
        if sick:
            more = some([f"GPU {gpu.index} ({gpu.bus_id or 'unknown'})" for gpu in sick[1:]])
            what = f"{sick[0].problem}; likewise {more}" if more else sick[0].problem
            command = f"dmesg | grep -e NVRM -e Xid; nvidia-smi -i {sick[0].index}"
            place = f"{proc.GPUS}/{sick[0].bus_id}"
            yield Finding(code=code, what=what, where=place, command=command)
    answered = {gpu.bus_id for gpu in inventory.gpus}
    silent = [gpu for gpu in inventory.gpus if gpu.problem and not gpu.bus_id]
    for gpu in listed:
        has_node = not nodes.is_missing(machine, f"/dev/nvidia{gpu.minor}")
        if gpu.bus_id not in answered and has_node and not silent:
            what = f"NVML knows {len(inventory.gpus)} GPUs, and not {gpu.bus_id}"
            place = f"{proc.GPUS}/{gpu.bus_id}/information"
            yield Finding(code=LOST, what=what, where=place, command="dmesg | grep NVRM")
    if inventory.slow > LONG:
        what = nvml_problems.slow(inventory.slow, len(inventory.gpus)).partition(":")[0]
        command = f"systemctl enable --now {PERSISTENCED}"
        if _is_persistent():
            what += f", although {PERSISTENCED} runs"
            command = "nvidia-smi -q -d PERFORMANCE"
        yield Finding(code=SLOW, what=what, command=command)
    names = [gpu.name for gpu in inventory.gpus if not gpu.problem]
    counts = {name: names.count(name) for name in names}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield Fine(told or "no GPU", is_main=True)
