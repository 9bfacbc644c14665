# SPDX-License-Identifier: Apache-2.0
"""Control groups: whether they can judge device nodes."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, Code, Finding, Fine, Step
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import bpf, control_groups, device_rules
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

MISSING = Code(
    "NCT-0602",
    ERROR,
    "control groups cannot judge devices",
    """
    No container can be started without rules for its device nodes: 'Devices cgroup isn't mounted'
    of dockerd, 'cgroups: cgroup mountpoint does not exist' or 'cannot find cgroup mount
    destination' of runc.  Neither cgroup v2 is mounted at /sys/fs/cgroup, nor the controller
    'devices' of cgroup v1.
    """,
    """
    systemd mounts them when the machine starts; without it 'mount -t cgroup2 cgroup2
    /sys/fs/cgroup' does.  'cgroup_disable=devices' in /proc/cmdline switches the controller off.
    """,
)
REFUSED = Code(
    "NCT-0603",
    ERROR,
    "the kernel refuses device programs of control groups",
    """
    On cgroup v2 a container's device rules are a program of the kernel's BPF.  It was built without
    CONFIG_CGROUP_BPF, or we are in a container that may not use the call bpf: 'bpf_prog_query
    (BPF_CGROUP_DEVICE) failed: operation not permitted', 'function not implemented' or 'invalid
    argument'.
    """,
    """
    In a container of LXC or Proxmox that has root of a user namespace,
    'nvidia-ctk config --set nvidia-container-cli.no-cgroups -i' switches the rules off for
    nvidia-container-cli; the outer container's own then hold.  Else take a kernel with
    CONFIG_CGROUP_BPF=y, or run doctor and the engine outside of the container.
    """,
)
CODES = (MISSING, REFUSED)

TOP = "/sys/fs/cgroup"
V2_TYPE = "cgroup2"
# Files that are at the top of a hierarchy.
MARKS = {control_groups.DEVICES: device_rules.LIST, control_groups.UNIFIED: "cgroup.controllers"}
# Loads, and allows all: r0 = 1; exit.
HARMLESS = bytes.fromhex("b7000000010000009500000000000000")
WITHOUT_GROUPS = "nvidia-ctk config --set nvidia-container-cli.no-cgroups -i"
# One range of all ids: no user namespace.
ALL_IDS = ["0", "0", "4294967295"]


def check(subject: Subject) -> Iterator[Said]:
    """Look at the control groups."""
    yield Step("control groups")
    kinds = mounted()
    if not kinds:
        yield from _missing()
        return
    name = "v2" if V2_TYPE in kinds else "v1"
    also = " and v2" if kinds == {control_groups.DEVICES, control_groups.UNIFIED} else ""
    yield Fine(f"control groups {name}{also}", is_main=True)
    if V2_TYPE in kinds:
        yield from _programs(subject)


def mounted() -> set[str]:
    """Return the hierarchies that judge devices here, and `V2_TYPE` where v2 alone counts."""
    try:
        groups = control_groups.of_process(os.getpid())
    except NvidiaRuntimeError:  # we are in a group that is not seen from here
        return {V2_TYPE} if os.path.exists(f"{TOP}/cgroup.controllers") else set()
    # One that another mount covers is in the table all the same.
    seen = [one for one in groups if os.path.exists(f"{one.top}/{MARKS[one.hierarchy]}")]
    kinds = {one.hierarchy for one in seen}
    if control_groups.DEVICES in kinds:
        return kinds
    is_whole = any(one.top == TOP for one in seen)
    return {control_groups.UNIFIED, V2_TYPE} if is_whole else set()


def _missing() -> Iterator[Said]:
    disabled = re.search(r"\bcgroup_disable=\S*devices", files.read_text("/proc/cmdline") or "")
    if disabled:
        what, command = f"the kernel was started with {disabled[0]}", "cat /proc/cmdline"
    elif os.path.isdir(f"{TOP}/cpu") or os.path.isdir(f"{TOP}/memory"):
        what = "cgroup v1 is mounted without its controller 'devices'"
        folder = f"{TOP}/devices"
        command = f"mkdir -p {folder} && mount -t cgroup -o devices cgroup {folder}"
    else:
        what, command = f"nothing is mounted at {TOP}", f"mount -t cgroup2 cgroup2 {TOP}"
    yield Finding(code=MISSING, what=what, where=TOP, command=command)


def _programs(subject: Subject) -> Iterator[Said]:
    """Ask for device programs, and load one that nothing uses, as the low-level runtime does."""
    if not subject.is_root:
        return
    is_inner = (files.read_text("/proc/self/uid_map") or "").split() != ALL_IDS
    if is_inner and (
        subject.mode != "legacy" or subject.settings["nvidia-container-cli.no-cgroups"]
    ):
        return  # runc sets no rules in a user namespace
    try:
        descriptor = os.open(TOP, os.O_RDONLY | os.O_DIRECTORY)
        try:
            bpf.query(descriptor)
        finally:
            os.close(descriptor)
        with bpf.loaded(HARMLESS, "nvidia_doctor"):
            pass
    except OSError as error:
        command = WITHOUT_GROUPS if is_inner else "grep CGROUP_BPF /boot/config-$(uname -r)"
        what = f"bpf: {os_reason(error)}"
        yield Finding(code=REFUSED, what=what, where=TOP, command=command)
    else:
        yield Fine("the kernel takes device programs")
