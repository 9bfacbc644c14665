# SPDX-License-Identifier: Apache-2.0
"""A DaemonSet's pod on a node, as its manifest has it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import waiting
from engines import cri

from . import kubelet
from .kustomize import Document
from .node import Node

NUMBERS = itertools.count()
# Seconds that a pod is given to end, where its manifest says nothing.
GRACE = 30


@dataclass(slots=True, kw_only=True)
class Rollout:
    """The pod and its container, which is started again in the same pod where it has ended."""

    node: Node
    spec: Document
    variables: Mapping[str, str]
    name: str
    namespace: str
    pod: cri.Pod = field(init=False)
    container: cri.PodContainer = field(init=False)
    pid: int = 0
    attempts: int = 0

    def start_pod(self) -> None:
        """Start the pod, with those of the host's folders that are made for it."""
        for folder, kind in kubelet.folders(self.spec).items():
            if kind == "DirectoryOrCreate":
                self.node.succeed("mkdir", "-p", folder)
            self.node.succeed("test", "-d", folder)  # hostPath type check failed
        group = self.node.service.group
        config = kubelet.sandbox(self.spec, self.name, self.namespace, group)
        self.pod = self.node.service.run_pod(config)

    def start(self) -> None:
        """Start the container."""
        config = kubelet.container(self.spec, self.variables)
        config["metadata"]["attempt"] = self.attempts
        self.container = self.pod.run(config)
        self.pid = self.container.inspect()["pid"]
        self.attempts += 1

    def is_ready(self) -> bool:
        """Ask the readiness probe."""
        (wanted,) = self.spec["containers"]
        return self.container.exec(*wanted["readinessProbe"]["exec"]["command"]).returncode == 0

    def become_ready(self) -> None:
        """Wait until the readiness probe says so; an installer restarts the engine meanwhile."""
        waiting.eventually(
            lambda: self.has_ended() or cri.patiently(self.is_ready), f"{self.name} is ready"
        )
        assert not self.has_ended(), self.log()

    def has_ended(self) -> bool:
        """Whether the container has ended, as far as the engine says anything."""
        return bool(cri.patiently(self.container.has_ended))

    def log(self) -> str:
        """Return what the container has said."""
        return self.node.path(f"/run/log/{self.name}/log").read_text()

    def signal(self, name: str) -> None:
        """Send a signal to the container's process, whether the engine is there or not."""
        self.node.succeed("sh", "-c", f"kill -{name} {self.pid}")

    def end(self) -> int:
        """End pod and container, as a deletion does; return the container's exit code."""
        seconds = self.spec.get("terminationGracePeriodSeconds", GRACE)
        codes: list[int | None] = []

        def has_ended() -> bool:
            codes.append(cri.patiently(lambda: self.container.stop(seconds)))
            return codes[-1] is not None

        waiting.eventually(has_ended, f"{self.name} has ended")
        waiting.eventually(lambda: cri.patiently(self._remove), f"{self.name} is removed")
        code = codes[-1]
        assert code is not None
        return code

    def _remove(self) -> bool:
        self.pod.remove()
        return True


def roll_out(node: Node, workload: Document, variables: Mapping[str, str] | None = None) -> Rollout:
    """Start a workload's pod on a node, with variables that a user adds to the manifest's."""
    rollout = Rollout(
        node=node,
        spec=workload["spec"]["template"]["spec"],
        variables=variables or {},
        name=f"{workload['metadata']['name']}-{next(NUMBERS)}",
        namespace=workload["metadata"]["namespace"],
    )
    rollout.start_pod()
    rollout.start()
    return rollout
