# SPDX-License-Identifier: Apache-2.0
"""What a kubelet is answered about a pod's GPUs, and the CDI specs that go with it.

By NVIDIA's device plugin (Allocate in internal/plugin/server.go, a strategy each) and DRA drivers
(cdi.go of cmd/gpu-kubelet-plugin and cmd/compute-domain-kubelet-plugin).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from engines import cri
from engines.engine import FOREVER

from nvidia_runtime.simulate.machine import SimulatedGpu, SimulatedMachine

from .node import Node

TOOLKIT = "/usr/local/nvidia/toolkit"
SPECS = "/run/cdi"
PLUGIN, GPU, CHANNEL = (
    f"k8s.{name}"
    for name in ("device-plugin.nvidia.com", "gpu.nvidia.com", "compute-domain.nvidia.com")
)
VISIBLE, VOLUMES = "NVIDIA_VISIBLE_DEVICES", "/var/run/nvidia-container-devices"
UNIQUE = str(uuid.uuid5(uuid.NAMESPACE_URL, "a claim of this test"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """An answer, of one container; ``cdi`` is the CRI's field for names."""

    env: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    cdi: tuple[str, ...] = ()


def envvar(gpus: Sequence[SimulatedGpu]) -> Allocation:
    """Answer with the variable."""
    return Allocation(env={VISIBLE: ",".join(gpu.uuid for gpu in gpus)})


def volume_mounts(gpus: Sequence[SimulatedGpu]) -> Allocation:
    """Answer with mounts."""
    mounts = {f"{VOLUMES}/{gpu.uuid}": "/dev/null" for gpu in gpus}
    return Allocation(env={VISIBLE: VOLUMES}, mounts=mounts)


def cdi_annotations(gpus: Sequence[SimulatedGpu]) -> Allocation:
    """Answer with annotations of the container."""
    names = ",".join(cdi_cri(gpus).cdi)
    return Allocation(annotations={f"cdi.k8s.io/nvidia-device-plugin_{UNIQUE}": names})


def cdi_cri(gpus: Sequence[SimulatedGpu]) -> Allocation:
    """Answer with names for the CRI's field."""
    return Allocation(cdi=tuple(f"{PLUGIN}/gpu={gpu.uuid}" for gpu in gpus))


def variable_of_names(gpus: Sequence[SimulatedGpu]) -> Allocation:
    """Ask with the same names in the variable, as a user can."""
    return Allocation(env={VISIBLE: ",".join(cdi_cri(gpus).cdi)})


def claim(gpus: Sequence[SimulatedGpu]) -> Allocation:
    """Answer for a claim: the GPUs, and what its configuration adds."""
    names = [f"gpu-{gpu.minor}" for gpu in gpus]
    devices = [f"{GPU}/device={name}" for name in names]
    return Allocation(cdi=(*devices, *(f"{GPU}/claim={UNIQUE}-{name}" for name in names)))


def channel(number: int) -> Allocation:
    """Answer for a claim of a compute domain's channel."""
    return Allocation(cdi=(f"{CHANNEL}/claim={UNIQUE}-channel-{number}",))


def management() -> Allocation:
    """Ask for all GPUs as their managers do."""
    return Allocation(cdi=("management.nvidia.com/gpu=all",))


def write_specs(node: Node) -> None:
    """Write the specs of the plugin, and of a claim each for all GPUs and channels."""
    node.succeed("mkdir", "-p", SPECS)
    hook = f"--nvidia-cdi-hook-path={TOOLKIT}/nvidia-cdi-hook"
    generate = (f"{TOOLKIT}/nvidia-ctk", "cdi", "generate", "--class=gpu", hook)
    words = ("--device-name-strategy=uuid", f"--vendor={PLUGIN}")
    node.succeed(*generate, *words, f"--output={SPECS}/{PLUGIN}-gpu.json")
    spec = json.loads(node.path(f"{SPECS}/{PLUGIN}-gpu.json").read_text())
    write(node, f"{GPU}-device_base", standard(node.machine, spec))
    claims = {f"{UNIQUE}-gpu-{gpu.minor}": {"env": ["CLAIM=yes"]} for gpu in node.machine.gpus}
    write(node, f"{GPU}-claim_{UNIQUE}", document(f"{GPU}/claim", claims))
    channels = {
        f"{UNIQUE}-channel-{number}": {"deviceNodes": [channel_node(node.machine, number)]}
        for number in node.machine.imex_channels
    }
    write(node, f"{CHANNEL}-claim_{UNIQUE}", document(f"{CHANNEL}/claim", channels))
    words = ("--mode=management", "--vendor=management.nvidia.com")
    node.succeed(*generate, *words, f"--output={SPECS}/management.nvidia.com-gpu.json")


def write(node: Node, name: str, spec: dict[str, Any]) -> None:
    """Write a spec as CDI's library does."""
    node.path(f"{SPECS}/{name}.yaml").write_text(yaml.safe_dump(spec))


def standard(machine: SimulatedMachine, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of all GPUs as the DRA driver calls them, from the plugin's."""
    names = {gpu.uuid: f"gpu-{gpu.minor}" for gpu in machine.gpus}
    devices = [
        {**device, "name": names[device["name"]]}
        for device in spec["devices"]
        if device["name"] in names
    ]
    return {**spec, "kind": f"{GPU}/device", "devices": devices}


def channel_node(machine: SimulatedMachine, number: int) -> dict[str, Any]:
    """Describe the node of a channel."""
    return {
        "path": f"/dev/nvidia-caps-imex-channels/channel{number}",
        "type": "c",
        "fileMode": 0o666,
        "major": machine.majors.imex,
        "minor": number,
    }


def document(kind: str, devices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a spec of some devices."""
    listed = [{"name": name, "containerEdits": edits} for name, edits in devices.items()]
    return {"cdiVersion": "0.5.0", "kind": kind, "devices": listed}


@contextmanager
def allocated(
    node: Node, handler: str, answer: Allocation, annotations: dict[str, str] | None = None
) -> Iterator[cri.PodContainer]:
    """Keep a pod of a runtime handler, whose container has what the kubelet was answered."""
    pod = node.service.start_pod(handler, annotations)
    try:
        yield pod.run(
            {
                "metadata": {"name": "app"},
                "image": {"image": node.service.image},
                "command": list(FOREVER),
                "envs": [{"key": key, "value": value} for key, value in answer.env.items()],
                "mounts": [
                    {"container_path": path, "host_path": host}
                    for path, host in answer.mounts.items()
                ],
                "annotations": [
                    {"key": key, "value": value} for key, value in answer.annotations.items()
                ],
                "log_path": "log",
                "linux": {
                    "security_context": {
                        "capabilities": {"add_capabilities": ["MKNOD"]},
                        "namespace_options": cri.NAMESPACES,
                    }
                },
                "cdi_devices": [{"name": name} for name in answer.cdi],
            }
        )
    finally:
        pod.remove()
