# SPDX-License-Identifier: Apache-2.0
"""Where ways of asking are tried: daemons with settings of their own, and namespaces with CDI specs."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

from nvidia_runtime.cdi import versions

from . import configured, containerd, cri, docker, installed, processes, rootfs, ways
from . import pods as containerd_of_pods
from .installed import require
from .machine import Machine
from .pods import Pods
from .ways import Way

PLAIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GPU = "nvidia.com/gpu=0"
# A namespace of the test's own in which the engine's own folder of CDI specs has ours.
VIEW = """
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/cdi /mnt/containerd
cp {specs} /mnt/cdi
mount --rbind /run/containerd /mnt/containerd
mount --rbind /mnt /run
exec "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockers:
    """A daemon for each place; they start when they are first asked for."""

    machine: Machine
    image: Path
    containerd: Path
    group: str
    stack: ExitStack

    def run(self, way: Way) -> CompletedProcess[str]:
        """Run a container that lists its nodes."""
        client = self.client(way.place)
        words = (*client, "run", "--rm", "--network=none", *way.words, rootfs.IMAGE)
        return processes.run([*words, *configured.LOOK])

    def client(self, place: str) -> tuple[str, ...]:
        """Return the client's words of a daemon."""
        folder = self.machine.scratch / f"w-{place}"
        if folder.exists():
            return docker.client_of(folder)
        folder.mkdir()
        settings = docker.settings(folder, containerd=self.containerd, group=self.group)
        ours = self.machine.runtime(f"ways-{place}", require("runc"))
        settings["runtimes"] = {"nvidia": {"path": os.fspath(ours.path)}}
        if place == "default":
            settings["default-runtime"] = "nvidia"
        if installed.version_of(ways.DOCKER) >= (25,):
            folders = (self.machine.scratch / "cdi", versions_of_cdi(self.machine))
            settings["cdi-spec-dirs"] = [*map(os.fspath, folders)]
            settings |= {"features": {"cdi": True}} if place == "cdi" else {}
        (folder / "daemon.json").write_text(json.dumps(settings))
        path = PLAIN if place == "bare" else f"{self.machine.shim.parent}:{PLAIN}"
        env = {**os.environ, "PATH": path}
        client = self.stack.enter_context(docker.daemon_on(folder / "daemon.json", env=env))
        processes.succeed([*client, "load", "--input", os.fspath(self.image)])
        return client


def rootful(*folders: Path) -> tuple[str, ...]:
    """Return the words that go before a command to run it where engines find these CDI specs."""
    view = VIEW.format(specs=" ".join(f"{folder}/*" for folder in folders))
    return ("unshare", "--mount", "--propagation", "private", "sh", "-ec", view, "sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerds:
    """A daemon for each place, as a kubelet and as `ctr` use it."""

    machine: Machine
    pods: Pods
    services: dict[str, cri.Cri] = field(default_factory=dict)
    stack: ExitStack

    def service(self, place: str) -> cri.Cri:
        """Return the service of a daemon; it starts when it is first asked for."""
        if place not in self.services:
            folder = self.machine.scratch / f"wc-{place}"
            folder.mkdir()
            runtime = self.machine.runtime(f"ways-{place}", require("runc"))
            version = installed.version_of(ways.CONTAINERD)
            file = folder / "config.toml"
            file.write_text(containerd_of_pods.text(folder, 3 if version >= (2,) else 2))
            specs = [self.machine.scratch / "cdi", versions_of_cdi(self.machine)]
            containerd_of_pods.add(file, runtime.path, specs, is_on=place == "cri")
            self.services[place] = self.stack.enter_context(self.pods.daemon(file))
        return self.services[place]

    def by_kubelet(self, way: Way) -> CompletedProcess[str]:
        """Run a pod with a container that lists its nodes."""
        place, _, handler = way.place.partition("-")
        pod = self.service(place).start_pod("" if handler == "runc" else handler)
        (word,) = way.words
        gpus = "0" if word == ways.VARIABLE else None
        note = [{"key": "cdi.k8s.io/test", "value": GPU}] if word == ways.ANNOTATION else []
        try:
            container = pod.start(
                gpus=gpus, annotations=note, cdi=GPU if word == ways.FIELD else ""
            )
            return container.exec(*configured.LOOK)
        finally:
            pod.remove()

    def by_ctr(self, way: Way) -> CompletedProcess[str]:
        """Run a container by `ctr`, which reads CDI specs itself."""
        service = self.service("cri")
        ours = self.machine.runtime("ways-ctr", require("runc"))
        binary = os.fspath(ours.path) if way.place == "ctr-ours" else require("runc")
        words = (
            *rootful(self.machine.scratch / "cdi"), "ctr", "--address", os.fspath(service.socket),
            "--namespace=k8s.io", "run", "--rm", "--snapshotter", containerd.SNAPSHOTTER,
            "--cgroup", f"/{service.group}/ctr", "--runc-root", f"{service.socket.parent}/runc",
            "--runc-binary", binary, *way.words, rootfs.IMAGE, f"by-{way.name}", *configured.LOOK,
        )  # fmt: skip
        return processes.run(words)


def versions_of_cdi(machine: Machine) -> Path:
    """Write a spec of each CDI version, whose only device has the name of that."""
    folder = machine.scratch / "versions"
    folder.mkdir(exist_ok=True)
    for version in versions.VERSIONS[2:]:
        device = {"name": f"v{version}", "containerEdits": {"env": [f"NVCR_CDI={version}"]}}
        spec = {"cdiVersion": version, "kind": "nvcr.test/cdi", "devices": [device]}
        (folder / f"{version}.json").write_text(json.dumps(spec))
    return folder


def note(name: str, outcome: str) -> None:
    """Note what came of a way, where somebody wants to know."""
    if file := os.environ.get("NVCR_WAYS"):
        with open(file, "a", encoding="utf-8") as notes:
            notes.write(json.dumps({"way": name, "outcome": outcome}) + "\n")
