# SPDX-License-Identifier: Apache-2.0
"""Many pods at once on a node with eight GPUs, while CDI specs change and the installer upgrades.

containerd runs on a simulated machine, told of us by the installer, and a kubelet's part is played
over its socket.  What is right in a container is seen from inside, beside one that runc made alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import waiting
from distributions.site import NAME, Site, hold
from installer.node import Node, bundle, own_interpreter

from nvidia_runtime.compile import keep
from nvidia_runtime.installer import record as installed_record
from nvidia_runtime.prepare import work
from nvidia_runtime.rootfs import merged_caches
from nvidia_runtime.store import record

from . import asking, changing, cri
from . import pods as containerd_of_pods
from .asking import Asking
from .changing import Specs, Upgrades
from .installed import require, version_of
from .machine import Machine
from .pods import Pods

MACHINE = "a100x8"
AT_ONCE = 16
STATE = f"run/{NAME}"
SPEC_FOLDERS = ("etc/cdi", "run/cdi")
# What is in the state folder: some files of each kind, and one each of others.
BOUNDED = (*keep.KEPT, "low-level-runtime.")
ONCE = ("libraries", "engines.lock")
# A record of all files of a driver is less, as is a snapshot of all specs.
MOST_BYTES = 128 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What a container says of itself: nodes with numbers, variables, links, and mount points."""

    nodes: frozenset[str]
    variables: frozenset[str]
    links: frozenset[str]
    mounts: frozenset[str]

    def marks(self) -> list[str]:
        """Return the marks of the spec's writing."""
        pairs = dict(line.partition("=")[::2] for line in self.variables)
        return [pairs[name] for name in asking.MARKS if name in pairs]


def inside(container: cri.PodContainer) -> Inside:
    """Look into a container."""
    got = container.exec("sh", "-c", asking.LOOK)
    assert got.returncode == 0, got.stderr
    nodes, variables, links, mounts = got.stdout.split(asking.PARTS)
    return Inside(
        nodes=frozenset(
            line for line in nodes.splitlines() if not asking.NODES.fullmatch(line.split()[0])
        ),
        variables=frozenset(variables.split("\0")),
        links=frozenset(links.splitlines()),
        mounts=frozenset(line.split()[4] for line in mounts.splitlines()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOfPods:
    """The machine, containerd on it, and what a container has by runc alone."""

    site: Site
    service: cri.Cri
    upgrades: Upgrades
    specs: Specs
    plain: Inside

    def expected(self, asked: Asking) -> Inside:
        """Return what a container that asks so has to have, but for its variables."""
        if not asked.indices:
            return self.plain
        edits = asking.recorded(MACHINE)["containerEdits"]
        by_name = asking.devices(MACHINE)
        parts = [edits, *(by_name[str(index)] for index in asked.indices)]
        paths = [node["path"] for part in parts for node in part["deviceNodes"]]
        mounts = [mount["containerPath"] for part in parts for mount in part.get("mounts", ())]
        return Inside(
            nodes=self.plain.nodes.union(map(self.numbered, paths)),
            variables=frozenset(),
            links=self.plain.links | asking.links(MACHINE),
            mounts=self.plain.mounts.union(
                mounts, [asking.PROFILE], (f"{asking.VOLUMES}/{name}" for name in asked.volumes)
            ),
        )

    def numbered(self, path: str) -> str:
        """Return a node of the machine as a container says it."""
        number = self.site.path(path).stat().st_rdev
        return f"{path} {os.major(number):x}:{os.minor(number):x}"

    def start(self, number: int) -> str:
        """Start a pod and look into its container; return what is wrong, "" for nothing."""
        asked = asking.numbered(MACHINE, number)
        try:
            pod = self.service.start_pod(asked.handler)
            seen = inside(asked.start_in(pod))
        except (cri.refused(), AssertionError) as error:
            return f"pod {number}, {asked}: {error}"
        wanted = self.expected(asked)
        wrong = [
            f"{name}: {sorted(getattr(seen, name) ^ getattr(wanted, name))}"
            for name in ("nodes", "mounts")
            if getattr(seen, name) != getattr(wanted, name)
        ]
        names = {os.path.basename(path) for path in wanted.mounts}
        new = seen.links - wanted.links  # of the loader's, by a library's own name
        if wanted.links - seen.links or {link.split("'")[3] for link in new} - names:
            wrong.append(f"links: {sorted(wanted.links ^ seen.links)}")
        marks = seen.marks()
        if len(marks) != len(asking.MARKS) * asked.is_by_spec or len({*marks}) > 1:
            wrong.append(f"marks: {marks}")
        if "lower" in marks:
            wrong.append("by the folder that counts less")
        return f"pod {number}, {asked}: {wrong}" if wrong else ""

    def remove(self, pod: str) -> None:
        """Remove a pod."""
        cri.Pod(cri=self.service, config={}, id=pod).remove()


@contextmanager
def node_of_pods(machine: Machine, pods: Pods, scratch: Path) -> Iterator[NodeOfPods]:
    """Keep a machine with containerd, on which the runtime was installed."""
    with hold(MACHINE, scratch, machine.shim) as site:
        source = bundle(scratch / "b/bundle")
        own_interpreter(source)
        folders = [site.path(folder) for folder in SPEC_FOLDERS]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        specs = Specs(folders=(folders[0], folders[1]), spec=asking.recorded(MACHINE))
        specs.write(0)
        upgrades = Upgrades(node=to_install(scratch / "n", source), enter=site.enter)
        upgrades.install(0)
        with replace(pods, enter=site.enter).daemon(upgrades.node.config) as service:
            pod = service.start_pod("runc")
            plain = inside(pod.start(gpus="0"))
            pod.remove()
            node = NodeOfPods(
                site=site, service=service, upgrades=upgrades, specs=specs, plain=plain
            )
            try:
                yield node
            finally:
                for left in service.pods():
                    node.remove(left)


def to_install(folder: Path, source: Path) -> Node:
    """Return a node whose engine is containerd, with an administrator's file."""
    node = Node(folder, source)
    node.config = folder / "config.toml"
    node.config.write_text(containerd_of_pods.text(folder, 2))
    node.flags = [
        "--runtime=containerd",
        f"--config={node.config}",
        "--drop-in-config=",
        "--restart-mode=none",  # it is started when this is done
        f"--socket={folder}/c.sock",
        f"--nvidia-container-runtime.modes.cdi.annotation-prefixes={asking.PREFIX}",
        "--accept-nvidia-visible-devices-as-volume-mounts",
    ]
    return node


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.long)])
def test_many_pods(machine: Machine, pods: Pods, count: int) -> None:
    require("nsenter")
    if version_of("containerd") >= (2,):
        pytest.skip("this containerd has a config.toml of another version")
    scratch = machine.scratch / f"many{count}"
    with node_of_pods(machine, pods, scratch) as node, ThreadPoolExecutor(AT_ONCE) as threads:
        mounts = mount_table(node.site)

        with (
            changing.repeated(node.specs.write, changing.WRITING) as written,
            changing.repeated(node.upgrades.upgrade, changing.UPGRADING) as upgraded,
        ):
            wrong = [said for said in threads.map(node.start, range(count)) if said]
            assert not wrong, "\n".join(wrong)
            ready, running = node.service.pods(), node.service.containers()
            assert [len(ready), len(running)] == [count, count]
            assert all((*ready.values(), *running.values()))
            list(threads.map(node.remove, ready))

        assert written.count > count // 4
        assert upgraded.count > count // 25
        assert node.service.pods() == node.service.containers() == {}
        waiting.eventually(lambda: shims(node.upgrades.node.folder) == [], "no shim is left")
        assert mount_table(node.site) == mounts
        check_state(node.site.path(STATE), count // 2)
        node.upgrades.upgrade(upgraded.count)  # the last one may have found trees in use
        check_trees(node.upgrades.node)


def mount_table(site: Site) -> list[str]:
    """List the mount points of the machine."""
    rows = Path(f"/proc/{site.pid}/mounts").read_text().splitlines()
    return sorted(row.split()[1] for row in rows)


def shims(folder: Path) -> list[str]:
    """List the processes of containerd's that keep a pod, of a daemon by its folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if "shim" in words[0] and f"{folder}/c.sock" in words:
            lines.append(" ".join(words))
    return lines


def check_state(folder: Path, count: int) -> None:
    """See that the state folder has what it may, of so many containers with GPUs."""
    others = {path.name for path in folder.iterdir() if not path.name.startswith(BOUNDED)}
    assert others <= {record.CREATED, work.MOUNTED, merged_caches.FOLDER, *ONCE}
    for prefix in BOUNDED:
        assert len([*folder.glob(f"{prefix}*")]) <= keep.MOST_FILES
    assert len([*folder.glob(f"{record.CREATED}/*")]) == count
    assert len([*folder.glob(f"{work.MOUNTED}/*")]) <= count
    assert len([*folder.glob(f"{merged_caches.FOLDER}/*")]) == 1  # one image, one set of libraries
    assert max(path.stat().st_size for path in folder.rglob("*")) < MOST_BYTES


def check_trees(node: Node) -> None:
    """See that the node has the last tree and the one before."""
    assert node.tree().name in node.trees()
    assert len(node.trees()) == 2
    assert {*os.listdir(node.local)} == {*node.trees(), node.toolkit.name, installed_record.FOLDER}
