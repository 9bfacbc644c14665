# SPDX-License-Identifier: Apache-2.0
"""What pods ask for, by each way that there is, and what their containers must have then.

What is right was recorded from NVIDIA Container Toolkit on the same machine: its spec of that.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import Any

import simulated
import yaml

from .cri import Pod, PodContainer

KIND = "nvidia.com/gpu"
PREFIX = "cdi.k8s.io/"
VOLUMES = "/var/run/nvidia-container-devices"
# In this order a container says its device nodes, its environment, its links, and its mounts.
PARTS = "-- next --\n"
LOOK = f"""
find /dev -type c -exec stat -c '%n %t:%T' {{}} +
printf '%s' '{PARTS}'
cat /proc/1/environ
printf '%s' '{PARTS}'
find / -xdev -type l -exec stat -c '%N' {{}} +
printf '%s' '{PARTS}'
cat /proc/self/mountinfo
"""
# What hooks mount, by a machine's spec: the profile of applications.
PROFILE = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
# Of any container.
NODES = re.compile(r"/dev/(null|zero|full|random|urandom|tty|console|ptmx|pts/.*)")
# The marks of a spec's writing, of the spec's own edits and of its devices': see `Specs`.
MARKS = ("SPEC_MARK", "DEVICE_MARK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a pod's container asks for, in which way, and of which GPUs; by a spec, or without one."""

    name: str
    handler: str
    gpus: str | None = None
    volumes: tuple[str, ...] = ()
    annotation: str = ""
    indices: tuple[int, ...] = ()
    is_by_spec: bool = False

    def start_in(self, pod: Pod) -> PodContainer:
        """Start the container."""
        notes = [{"key": f"{PREFIX}gpus", "value": self.annotation}] if self.annotation else []
        mounts = [f"{VOLUMES}/{name}" for name in self.volumes]
        return pod.start(gpus=self.gpus, annotations=notes, mounts=mounts)


@functools.cache
def recorded(machine: str) -> dict[str, Any]:
    """Read the spec that was recorded on a machine."""
    document: dict[str, Any] = yaml.safe_load(
        (simulated.EXPECTED / f"cdi/{machine}.yaml").read_text()
    )
    return document


def devices(machine: str) -> dict[str, dict[str, Any]]:
    """Return the edits of a machine's devices by their names."""
    return {device["name"]: device["containerEdits"] for device in recorded(machine)["devices"]}


def links(machine: str) -> set[str]:
    """Return the links that a machine's hooks make, as a container says them."""
    hooks = recorded(machine)["containerEdits"]["hooks"]
    pairs = [word.split("::") for hook in hooks for word in hook["args"] if "::" in word]
    return {f"'{path}' -> '{target}'" for target, path in pairs}


def uuids(machine: str) -> dict[int, str]:
    """Return the UUIDs of GPUs by their indices."""
    edits = devices(machine)
    named = {str(edits[name]): name for name in edits if name.startswith("GPU-")}
    return {int(name): named[str(edits[name])] for name in edits if name.isdecimal()}


def numbered(machine: str, number: int) -> Asking:
    """Return what the pod of a number asks for: one GPU or more, and every second one for none."""
    way = number // 2
    count = (1, 1, 2, 1, 4)[way % 5]
    return without(way) if number % 2 else with_gpus(machine, way, count)


def with_gpus(machine: str, way: int, count: int) -> Asking:
    """Return what asks for GPUs, of a number and by a way."""
    indices = tuple(sorted((way + 3 * step) % 8 for step in range(count)))
    plain = tuple(map(str, indices))
    qualified = ",".join(f"{KIND}={index}" for index in indices)
    ways = (
        Asking(name="by index", handler="nvidia", gpus=",".join(plain)),
        Asking(name="by volumes", handler="nvidia", volumes=plain),
        Asking(name="by annotation", handler="nvidia", annotation=qualified, is_by_spec=True),
        Asking(name="by nvidia-cdi", handler="nvidia-cdi", gpus=",".join(plain), is_by_spec=True),
        Asking(
            name="by UUID",
            handler="nvidia",
            gpus=",".join(uuids(machine)[index] for index in indices),
        ),
        Asking(name="by CDI names", handler="nvidia", gpus=qualified, is_by_spec=True),
    )
    return replace(ways[way % len(ways)], indices=indices)


def without(way: int) -> Asking:
    """Return what asks for no GPU, or asks runc alone, which knows of none."""
    ways = (
        Asking(name="none by nvidia", handler="nvidia"),
        Asking(name="none by nvidia-cdi", handler="nvidia-cdi"),
        Asking(name="void", handler="nvidia", gpus="void"),
        Asking(name="by runc", handler="runc", gpus="0"),
    )
    return ways[way % len(ways)]
