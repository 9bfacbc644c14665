# SPDX-License-Identifier: Apache-2.0
"""Each way of asking for GPUs, on the engines of this machine: what a container gets, or is told.

`make test-engines` makes the table of packaging/engines.md of what is noted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from nvidia_runtime.cdi import engine_support, versions
from nvidia_runtime.engines import supported

from . import configured, cri, installed, processes, rootfs, rootless, ways
from .installed import require
from .machine import Machine
from .places import Containerds, Dockers, note, rootful, versions_of_cdi
from .podman import Podman
from .ways import Way


def of(engine: str) -> pytest.MarkDecorator:
    """Take each way of an engine."""
    chosen = [way for way in ways.WAYS if way.engine == engine]
    return pytest.mark.parametrize("way", chosen, ids=lambda way: way.name)


@of(ways.DOCKER)
def test_docker(way: Way, dockers: Dockers) -> None:
    check(way, dockers.run(way))


@of(ways.PODMAN)
def test_podman(way: Way, machine: Machine, live_podman: Podman) -> None:
    user, _, runtime = way.place.rpartition("-")
    podman = rootless.podman(machine, live_podman) if user else live_podman
    path = podman.runtime.path if runtime == "ours" else Path(require("runc"))
    view = rootless.enter(machine) if user else rootful(machine.scratch / "cdi")
    podman = replace(podman, enter=view, runtime=replace(podman.runtime, path=path))
    root = podman.root()
    words = (*podman.podman(podman.runtime), "run", "--rm", "--network=none")
    limits = () if user else (f"--cgroup-parent=/{podman.group}",)
    if user:
        rootless.own(podman.folder)

    done = processes.run(
        [*words, *limits, *way.words, "--rootfs", root, *configured.LOOK], env=podman.env
    )

    check(way, done)


@of(ways.CONTAINERD)
def test_containerd(way: Way, containerds: Containerds) -> None:
    is_by_ctr = way.place.startswith("ctr")

    check(way, containerds.by_ctr(way) if is_by_ctr else containerds.by_kubelet(way))


def check_versions(engine: str, accepts: Callable[[str], bool]) -> None:
    """An engine must read what our table says of its version; note what it does read."""
    version = installed.version_of(engine)
    newest = engine_support.newest_for(supported.ENGINES[engine], version)
    if not newest:
        pytest.skip(f"{engine} {version[0]} has no CDI")
    read = [cdi for cdi in versions.VERSIONS[2:] if accepts(f"nvcr.test/cdi=v{cdi}")]

    assert read == [*versions.VERSIONS[2 : versions.VERSIONS.index(read[-1]) + 1]]
    assert newest in read
    note(f"{engine}-versions", f"up to {read[-1]}")


def test_versions_that_docker_reads(dockers: Dockers) -> None:
    client = dockers.client("cdi")

    def accepts(device: str) -> bool:
        words = (*client, "run", "--rm", "--network=none", f"--device={device}", rootfs.IMAGE)
        return processes.run([*words, "true"]).returncode == 0

    check_versions(ways.DOCKER, accepts)


def test_versions_that_podman_reads(machine: Machine, live_podman: Podman) -> None:
    runc = replace(live_podman.runtime, path=Path(require("runc")))
    podman = replace(live_podman, enter=rootful(versions_of_cdi(machine)), runtime=runc)
    words = (*podman.podman(runc), "run", "--rm", "--network=none")

    def accepts(device: str) -> bool:
        asked = (
            f"--cgroup-parent=/{podman.group}",
            f"--device={device}",
            "--rootfs",
            podman.root(),
        )
        return processes.run([*words, *asked, "true"], env=podman.env).returncode == 0

    check_versions(ways.PODMAN, accepts)


def test_versions_that_containerd_reads(containerds: Containerds) -> None:
    service = containerds.service("cri")

    def accepts(device: str) -> bool:
        pod = service.start_pod()
        try:
            pod.start(gpus=None, cdi=device)
        except cri.refused():
            return False
        finally:
            pod.remove()
        return True

    check_versions(ways.CONTAINERD, accepts)


def check(way: Way, done: CompletedProcess[str]) -> None:
    """Compare what came of a way with what is said of it, and note that."""
    nodes = " ".join(sorted(line for line in done.stdout.split() if line[-1].isdigit()))
    version = installed.version_of(way.engine)
    if way.works(version):
        assert (done.returncode, nodes) == (0, way.gets), done.stderr
        note(way.name, "works")
    elif way.refusal(version) == ways.NOTHING:
        assert (done.returncode, nodes) == (0, ""), done.stderr
        note(way.name, ways.NOTHING)
    else:
        assert done.returncode != 0, done.stdout
        said = re.search(way.refusal(version), done.stderr)
        assert said, done.stderr
        note(way.name, f"no: `{said[0]}`")
