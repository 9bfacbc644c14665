# SPDX-License-Identifier: Apache-2.0
"""MIG devices and IMEX channels: instances, and the nodes by which they may be used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.devices import nodes as devices_nodes
from nvidia_runtime.doctor.devices.nodes import Expected
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine
from nvidia_runtime.errors import some
from nvidia_runtime.generate import imex
from nvidia_runtime.host import device_nodes, mig, processes
from nvidia_runtime.host import root as driver_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.host.gpu import Gpu
    from nvidia_runtime.host.machine import Machine

IMEX_MAJOR = "nvidia-caps-imex-channels"
PARAMETERS = "/proc/driver/nvidia/params"
FIRST_CHANNEL = "CreateImexChannel0"
IMEX = "nvidia-imex"
IMEX_NODES = "/etc/nvidia-imex/nodes_config.cfg"

EMPTY = Code(
    "NCT-0231",
    ERROR,
    "GPUs are in MIG mode and have no MIG device",
    """
    A GPU in MIG mode runs no CUDA program unless it is divided: nvidia-smi shows it, and cuInit
    says "no CUDA-capable device is detected".  Instances do not survive a restart of the machine.
    """,
    """
    Make instances: 'nvidia-smi mig -lgip' lists profiles, 'nvidia-smi mig -i N -cgi PROFILE -C'
    makes one; nvidia-mig-parted does it at each boot.  Or leave MIG mode: nvidia-smi -i N -mig 0.
    """,
)
CAP_MISSING = Code(
    "NCT-0232",
    ERROR,
    "device nodes of MIG devices are missing",
    """
    A process may use a MIG device if it may open the nodes of its two instances, in
    /dev/nvidia-caps.  Without them containers that ask for the device are refused, or would say "no
    CUDA-capable device is detected".
    """,
    """
    nvidia-modprobe -f makes the node of a file in /proc/driver/nvidia/capabilities, as 'nvidia-smi
    -L' run by root does for all.
    """,
)
NO_CAPS = Code(
    "NCT-0233",
    ERROR,
    "the driver has MIG devices but no major number for their nodes",
    """
    /proc/devices does not list nvidia-caps: the kernel module was loaded in part, or something else
    has its numbers.
    """,
    """
    Load the driver anew, or restart the machine.
    """,
)
MANAGING_MISSING = Code(
    "NCT-0234",
    NOTE,
    "the nodes that manage MIG devices are missing",
    """
    Containers that make or watch MIG devices (NVIDIA_MIG_CONFIG_DEVICES and
    NVIDIA_MIG_MONITOR_DEVICES, nvidia-mig-parted, dcgm) need nvidia-cap1 and nvidia-cap2; others do
    not.
    """,
    """
    nvidia-modprobe -f /proc/driver/nvidia/capabilities/mig/config -f
    /proc/driver/nvidia/capabilities/mig/monitor
    """,
)
CHANNEL_MISSING = Code(
    "NCT-0241",
    WARNING,
    "an IMEX channel that the driver was told to make is missing",
    """
    The module's parameter NVreg_CreateImexChannel0 is 1, and
    /dev/nvidia-caps-imex-channels/channel0 is not there.  Containers that ask for the channel
    (NVIDIA_IMEX_CHANNELS) are refused.
    """,
    """
    nvidia-modprobe -i makes it, or mknod with the major number of nvidia-caps-imex-channels in
    /proc/devices.
    """,
)
NO_IMEX = Code(
    "NCT-0242",
    WARNING,
    "nvidia-imex does not run, though this machine belongs to a domain",
    """
    /etc/nvidia-imex/nodes_config.cfg names other machines, and there are IMEX channels, but the
    daemon that shares memory over NVLink between machines does not run: what one exports the
    others cannot import.
    """,
    """
    systemctl enable --now nvidia-imex; nvidia-imex-ctl -N shows the domain.  With Kubernetes'
    compute domains a pod runs it, and the host's service stays off: then remove the file.
    """,
)
CODES = (EMPTY, CAP_MISSING, NO_CAPS, MANAGING_MISSING, CHANNEL_MISSING, NO_IMEX)


def check(machine: Machine, numbers: dict[str, int]) -> Iterator[Said]:
    """Look at the nodes of MIG instances as the driver lists them, and at IMEX channels."""
    accesses = mig.accesses(machine.kernel_root)
    if accesses and device_nodes.CAPS not in numbers:
        what = f"{len(accesses)} instances, and no {device_nodes.CAPS} in {device_nodes.DEVICES}"
        yield Finding(code=NO_CAPS, what=what, where=device_nodes.DEVICES, command="reboot")
    elif accesses:
        yield from _capabilities(machine, numbers[device_nodes.CAPS], accesses)
    if IMEX_MAJOR in numbers:
        yield from _channels(machine, numbers[IMEX_MAJOR])


def empty(gpus: list[Gpu]) -> Iterator[Said]:
    """Say which GPUs, as NVML describes them, are in MIG mode and not divided."""
    usable = [gpu for gpu in gpus if not gpu.problem]
    undivided = [gpu for gpu in usable if gpu.is_mig and not gpu.migs]
    if count := sum(len(gpu.migs) for gpu in usable):
        yield Fine(f"{count} MIG devices", is_main=True)
    if not undivided:
        return
    named = some([f"GPU {gpu.index} ({gpu.bus_id})" for gpu in undivided])
    # Where there are others, somebody is about to divide it, or has just done.
    severity = "" if len(undivided) == len(usable) else NOTE
    yield Finding(
        code=EMPTY,
        what=f"{named}: no instance",
        where=mig.CAPABILITIES,
        command=f"nvidia-smi mig -i {undivided[0].index} -lgip",
        severity=severity,
    )


def _capabilities(machine: Machine, major: int, accesses: dict[str, int]) -> Iterator[Said]:
    expected = {
        path: Expected(path=f"{mig.NODE}{minor}", numbers=(major, minor), mode="444")
        for path, minor in accesses.items()
    }
    missing = {
        path: node
        for path, node in expected.items()
        if devices_nodes.is_missing(machine, node.path)
    }
    if missing:
        first = next(iter(missing))
        named = some([os.path.basename(node.path) for node in missing.values()])
        what = f"{len(missing)} of {len(expected)} are missing: {named}"
        command = _making(machine, major, [node.numbers[1] for node in missing.values()])
        # A container that has some of the devices sees the instances of all.
        severity = "" if processes.sees_all() else NOTE
        yield Finding(code=CAP_MISSING, what=what, where=first, command=command, severity=severity)
    yield from devices_nodes.wrong(machine, expected.values())
    managing = mig.managing_nodes(machine.mig_minors())
    gone = [path for path in managing.values() if devices_nodes.is_missing(machine, path)]
    if gone:
        files = " ".join(f"-f {mig.CAPABILITIES}/mig/{name}" for name in managing)
        command = f"nvidia-modprobe {files}"
        yield Finding(code=MANAGING_MISSING, what=some(gone), where=gone[0], command=command)


def _making(machine: Machine, major: int, minors: list[int]) -> str:
    """Return the command that makes many nodes."""
    node = driver_root.join(machine.dev_root, mig.NODE)
    numbers = " ".join(map(str, minors))
    loop = f"for n in {numbers}; do mknod -m 444 {node}$n c {major} $n; done"
    return f"mkdir -p {os.path.dirname(node)}; {loop}"


def _channels(machine: Machine, major: int) -> Iterator[Said]:
    """Look at the IMEX channels that are there, and at the one that should be."""
    channels = imex.channels(machine)
    first = Expected(path=f"{imex.FOLDER}/{imex.PREFIX}0", numbers=(major, 0), mode="666")
    if 0 not in channels and _parameter(FIRST_CHANNEL) == "1":
        what = f"{FIRST_CHANNEL} is 1 in {PARAMETERS}"
        place = driver_root.join(machine.dev_root, first.path)
        if devices_nodes.is_missing(machine, first.path):
            command = devices_nodes.making(machine, [first])
            yield Finding(code=CHANNEL_MISSING, what=what, where=place, command=command)
    present = [
        Expected(path=node.path, numbers=(major, number), mode="666")
        for number, node in channels.items()
    ]
    yield from devices_nodes.wrong(machine, present)
    if channels and _has_peers() and processes.sees_all() and not processes.is_running(IMEX):
        what = f"{IMEX_NODES} names other machines, and no process {IMEX} runs"
        command = f"systemctl enable --now {IMEX}"
        yield Finding(code=NO_IMEX, what=what, where=IMEX_NODES, command=command)


def _parameter(name: str) -> str:
    """Return a parameter of the loaded kernel module."""
    try:
        with open(PARAMETERS, encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return ""
    return next((value.strip() for key, _, value in lines if key == name), "")


def _has_peers() -> bool:
    if not os.path.isfile(IMEX_NODES):
        return False
    try:
        with open(IMEX_NODES, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return False
    named = [line for line in map(str.strip, lines) if line and not line.startswith(("#", ";"))]
    return len(named) > 1
