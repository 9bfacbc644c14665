# SPDX-License-Identifier: Apache-2.0
"""A kubelet's part: pods and containers through the Container Runtime Interface, runtime.v1.

https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto; only the fields
that are used here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

import waiting

from . import wire
from .engine import FOREVER

T = TypeVar("T")
# NamespaceMode: the pod's, the container's own, and the host's; the host's network needs no CNI.
POD, CONTAINER, NODE = range(3)
# MountPropagation and SecurityProfile's ProfileType, by their names in a manifest.
PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
PROFILES = {"RuntimeDefault": 0, "Unconfined": 1}
READY = 0  # PodSandboxState
RUNNING, EXITED = 1, 2  # ContainerState
# The host's network, and processes as Kubernetes has them.
NAMESPACES = {"network": NODE, "pid": CONTAINER}
MESSAGES: wire.Messages = {
    "Metadata": {"name": (1, str), "uid": (2, str), "namespace": (3, str)},
    "NamespaceOption": {"network": (1, int), "pid": (2, int)},
    "Profile": {"profile_type": (1, int)},
    "Number": {"value": (1, int)},
    "SandboxSecurity": {"namespace_options": (1, "NamespaceOption"), "seccomp": (9, "Profile")},
    "LinuxSandbox": {"cgroup_parent": (1, str), "security_context": (2, "SandboxSecurity")},
    "SandboxConfig": {
        "metadata": (1, "Metadata"),
        "log_directory": (3, str),
        "annotations": (7, ["Entry"]),
        "linux": (8, "LinuxSandbox"),
    },
    "RunPodSandboxRequest": {"config": (1, "SandboxConfig"), "runtime_handler": (2, str)},
    "Sandbox": {"pod_sandbox_id": (1, str)},
    "Image": {"image": (1, str)},
    "Variable": {"key": (1, str), "value": (2, str)},
    "Capabilities": {"add_capabilities": (1, [str]), "drop_capabilities": (2, [str])},
    "SeLinux": {"type": (3, str)},
    "ContainerSecurity": {
        "capabilities": (1, "Capabilities"),
        "namespace_options": (3, "NamespaceOption"),
        "selinux_options": (4, "SeLinux"),
        "run_as_user": (5, "Number"),
        "readonly_rootfs": (7, int),
        "no_new_privs": (11, int),
        "masked_paths": (13, [str]),
        "readonly_paths": (14, [str]),
        "seccomp": (15, "Profile"),
        "apparmor": (16, "Profile"),
    },
    "Resources": {"memory_limit_in_bytes": (4, int)},
    "LinuxContainer": {
        "resources": (1, "Resources"),
        "security_context": (2, "ContainerSecurity"),
    },
    "Mount": {
        "container_path": (1, str),
        "host_path": (2, str),
        "readonly": (3, int),
        "propagation": (5, int),
    },
    "ContainerMetadata": {"name": (1, str), "attempt": (2, int)},
    "ContainerConfig": {
        "metadata": (1, "ContainerMetadata"),
        "image": (2, "Image"),
        "command": (3, [str]),
        "envs": (6, ["Variable"]),
        "mounts": (7, ["Mount"]),
        "annotations": (10, ["Entry"]),
        "log_path": (11, str),
        "linux": (15, "LinuxContainer"),
        "cdi_devices": (17, ["CdiDevice"]),
    },
    "CdiDevice": {"name": (1, str)},
    "CreateContainerRequest": {
        "pod_sandbox_id": (1, str),
        "config": (2, "ContainerConfig"),
        "sandbox_config": (3, "SandboxConfig"),
    },
    "Container": {"container_id": (1, str)},
    "StatusRequest": {"container_id": (1, str), "verbose": (2, int)},
    "Entry": {"key": (1, str), "value": (2, str)},
    "ContainerStatus": {"state": (3, int), "exit_code": (7, int)},
    "StatusResponse": {"status": (1, "ContainerStatus"), "info": (2, ["Entry"])},
    "StopContainerRequest": {"container_id": (1, str), "timeout": (2, int)},
    "ExecSyncRequest": {"container_id": (1, str), "cmd": (2, [str]), "timeout": (3, int)},
    "ExecSyncResponse": {"stdout": (1, bytes), "stderr": (2, bytes), "exit_code": (3, int)},
    "ListedPod": {"id": (1, str), "state": (3, int)},
    "ListedContainer": {"id": (1, str), "state": (6, int)},
    "Pods": {"items": (1, ["ListedPod"])},
    "Containers": {"items": (1, ["ListedContainer"])},
    "Empty": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cri:
    """The service behind a socket."""

    socket: Path
    image: str
    group: str
    logs: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def call(self, method: str, asks: str, gives: str, **fields: Any) -> wire.Message:
        """Call a method of the RuntimeService; an error of the service is a grpc.RpcError."""
        import grpc  # not in every environment that loads the fixtures

        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            answer = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")(
                wire.encode(MESSAGES, asks, fields),
                timeout=waiting.PATIENCE,
                wait_for_ready=True,
            )
        return wire.decode(MESSAGES, gives, answer)

    def is_there(self) -> bool:
        """Whether the service answers."""
        return patiently(lambda: self.call("Version", "Empty", "Empty")) is not None

    def start_pod(self, handler: str = "", annotations: Mapping[str, str] | None = None) -> Pod:
        """Start a pod on the host's network, by a runtime handler; "" is the default runtime."""
        name = f"pod{next(self.numbers)}"
        config = {
            "metadata": {"name": name, "uid": name, "namespace": "nvcr"},
            "log_directory": str(self.logs),
            "annotations": [{"key": k, "value": v} for k, v in (annotations or {}).items()],
            "linux": {
                "cgroup_parent": f"/{self.group}/{name}",
                "security_context": {"namespace_options": NAMESPACES},
            },
        }
        return self.run_pod(config, handler)

    def run_pod(self, config: wire.Message, handler: str = "") -> Pod:
        """Start a pod as its configuration has it."""
        asked = {"config": config, "runtime_handler": handler}
        reply = self.call("RunPodSandbox", "RunPodSandboxRequest", "Sandbox", **asked)
        return Pod(cri=self, config=config, id=reply["pod_sandbox_id"])

    def pods(self) -> dict[str, bool]:
        """Return the ids of all pods, and whether each is ready."""
        listed = self.call("ListPodSandbox", "Empty", "Pods").get("items", [])
        return {pod["id"]: pod.get("state", 0) == READY for pod in listed}

    def containers(self) -> dict[str, bool]:
        """Return the ids of all containers, and whether each runs."""
        listed = self.call("ListContainers", "Empty", "Containers").get("items", [])
        return {container["id"]: container.get("state", 0) == RUNNING for container in listed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that runs, and the one container that it may have."""

    cri: Cri
    config: wire.Message
    id: str

    def start(
        self,
        *,
        gpus: str | None,
        annotations: Sequence[wire.Message] = (),
        cdi: str = "",
        mounts: Sequence[str] = (),
    ) -> PodContainer:
        """Start a container that stays; ``cdi`` is the name in the pod's CDI field.

        ``mounts`` are paths in the container, at which it gets /dev/null.
        """
        asked = [] if gpus is None else [{"key": "NVIDIA_VISIBLE_DEVICES", "value": gpus}]
        config = {
            "metadata": {"name": "c"},
            "image": {"image": self.cri.image},
            "command": list(FOREVER),
            "envs": asked,
            "mounts": [{"container_path": path, "host_path": "/dev/null"} for path in mounts],
            "annotations": list(annotations),
            "log_path": f"{self.id}.log",
            "cdi_devices": [{"name": cdi}] if cdi else [],
            "linux": {
                "security_context": {
                    "capabilities": {"add_capabilities": ["MKNOD"]},
                    "namespace_options": NAMESPACES,
                }
            },
        }
        return self.run(config)

    def run(self, config: wire.Message) -> PodContainer:
        """Start a container as its configuration has it."""
        reply = self.cri.call(
            "CreateContainer",
            "CreateContainerRequest",
            "Container",
            pod_sandbox_id=self.id,
            config=config,
            sandbox_config=self.config,
        )
        container = PodContainer(cri=self.cri, id=reply["container_id"])
        self.cri.call("StartContainer", "Container", "Empty", container_id=container.id)
        return container

    def remove(self) -> None:
        """Stop and remove the pod with all that is in it."""
        self.cri.call("StopPodSandbox", "Sandbox", "Empty", pod_sandbox_id=self.id)
        self.cri.call("RemovePodSandbox", "Sandbox", "Empty", pod_sandbox_id=self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodContainer:
    """A container of a pod."""

    cri: Cri
    id: str

    def exec(self, *command: str) -> CompletedProcess[str]:
        """Run a command in the container."""
        asked = {"container_id": self.id, "cmd": list(command), "timeout": 30}
        got = self.cri.call("ExecSync", "ExecSyncRequest", "ExecSyncResponse", **asked)
        said, errors = got.get("stdout", b"").decode(), got.get("stderr", b"").decode()
        return CompletedProcess(command, got.get("exit_code", 0), said, errors)

    def stop(self, seconds: int) -> int:
        """Have the container end, which it is given some time for; return its exit code."""
        asked = {"container_id": self.id, "timeout": seconds}
        self.cri.call("StopContainer", "StopContainerRequest", "Empty", **asked)
        status = self._status()["status"]
        assert status["state"] == EXITED
        code: int = status.get("exit_code", 0)
        return code

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return bool(self._status()["status"].get("state") == EXITED)

    def _status(self) -> wire.Message:
        asked = {"container_id": self.id, "verbose": 1}
        return self.cri.call("ContainerStatus", "StatusRequest", "StatusResponse", **asked)

    def inspect(self) -> dict[str, Any]:
        """Return what containerd knows of the container, as `crictl inspect` shows it."""
        info = {entry["key"]: entry["value"] for entry in self._status()["info"]}
        document: dict[str, Any] = json.loads(info["info"])
        return document


def refused() -> type[Exception]:
    """Return the class of the service's errors."""
    import grpc  # as in Cri.call

    error: type[Exception] = grpc.RpcError
    return error


def is_away(error: Any) -> bool:
    """Whether an error is that of a service that is not there, not yet, or has gone meanwhile."""
    return bool(
        error.code().name == "UNAVAILABLE" or error.details() == "server is not initialized yet"
    )


def patiently(ask: Callable[[], T]) -> T | None:
    """Ask a service that may be restarting, which is no answer: a kubelet asks again."""
    try:
        return ask()
    except refused() as error:
        if not is_away(error):
            raise
    return None
