# SPDX-License-Identifier: Apache-2.0
"""`nvidia-ctk explain` on a machine whose containers real engines have made."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import ctk

import nvidia_runtime

from . import installed, processes, rootfs
from . import pods as containerd_of_pods
from .bundles import Bundles
from .containerd import Containerd
from .docker import Docker
from .engine import FOREVER
from .machine import Machine
from .podman import Podman
from .pods import Pods
from .rootfs import IMAGE


def explain(*words: str, **environment: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.path.dirname(nvidia_runtime.__path__[0]), **environment}
    return processes.succeed([sys.executable, "-c", ctk.PROGRAM, "explain", *words], env=env)


def facts(name: str, **environment: str) -> tuple[str, str, str, str]:
    """Return what is said of a container: id, engine, image and state."""
    said: dict[str, Any] = json.loads(explain(name, "--json", **environment))
    return said["container"], said["engine"], said["image"], said["state"]


@pytest.fixture
def docker(live_docker: Docker) -> Iterator[Docker]:
    """Return a docker without containers, whatever the test before did."""
    yield live_docker
    live_docker.clean()


def test_docker(docker: Docker) -> None:
    """By its name, whatever it was called before, while docker knows it."""
    host = {"DOCKER_HOST": docker.docker[-1]}
    container = docker.start(gpus="0", options=("--name", "was"))
    processes.succeed([*docker.docker, "rename", "was", "web"])
    image = processes.succeed(
        [*docker.docker, "inspect", "--format={{.Config.Image}}", "web"]
    ).strip()
    expected = (container.id, "docker", image)

    assert facts("web", **host) == (*expected, "running")
    assert facts(container.id[:6], **host) == (*expected, "running")
    (row,) = [line for line in explain(**host).splitlines() if line.startswith("web ")]
    assert row.split()[2:5] == ["docker", "running", "0"]
    container.stop()
    assert facts("web", **host) == (*expected, "stopped")
    container.remove()
    assert facts(container.id, **host) == (container.id, "docker", "", "gone")


def test_docker_that_does_not_answer(docker: Docker) -> None:
    """The process is asked, and the name is gone."""
    container = docker.start(gpus="0", options=("--name", "web"))

    assert facts(container.id, DOCKER_HOST="unix:///nowhere")[3] == "running"


def test_container_that_asked_for_nothing(docker: Docker) -> None:
    docker.start(gpus=None, options=("--name", "web"))
    env = {**os.environ, "PYTHONPATH": os.path.dirname(nvidia_runtime.__path__[0])}
    env["DOCKER_HOST"] = docker.docker[-1]

    done = processes.run([sys.executable, "-c", ctk.PROGRAM, "explain", "web"], env=env)

    assert done.returncode == 1
    assert done.stderr.startswith("nvidia-ctk: docker's container 'web' (")


def test_create_of_docker_that_failed(docker: Docker) -> None:
    """docker still knows it by its name, and tells the same error."""
    host = {"DOCKER_HOST": docker.docker[-1]}
    words = docker.run_words("99", "nvidia")
    done = processes.run([*words, "--name", "web", IMAGE, "true"])
    assert done.returncode != 0

    said = json.loads(explain("web", "--json", **host))

    assert (said["state"], said["engine"], said["requested"]) == ("failed", "docker", ["99"])
    assert said["failed"] in done.stderr
    assert "\n  failed: " in explain(**host)


def test_image_of_docker(docker: Docker) -> None:
    """Its files lie in docker's own folders."""
    said = json.loads(explain("--image", IMAGE, "--json", DOCKER_HOST=docker.docker[-1]))

    assert (said["source"], said["files"]) == ("docker", "")
    assert said["libc"]["name"] == "none"  # a static busybox


def test_archive_of_docker(docker: Docker, tmp_path: Path) -> None:
    words = docker.docker
    container = processes.succeed([*words, "create", IMAGE, "true"]).strip()
    change = "ENV NVIDIA_VISIBLE_DEVICES=0"
    name = "localhost/nvcr-explained:latest"
    processes.succeed([*words, "commit", "--change", change, container, name])
    processes.succeed([*words, "save", "--output", os.fspath(tmp_path / "i.tar"), name])
    processes.succeed([*words, "rmi", name])

    said = json.loads(explain("--image", os.fspath(tmp_path / "i.tar"), "--json"))

    assert (said["requested"], said["by"], said["files"]) == (["0"], "environment", "")
    assert said["libc"]["name"] == "none"


@pytest.fixture
def podman(live_podman: Podman) -> Iterator[Podman]:
    """Return a podman without containers, whatever the test before did."""
    yield live_podman
    live_podman.clean()


def test_podman(podman: Podman) -> None:
    """By its name, even when it is gone; then by the one that it had when it was created."""
    words = (*podman.podman(podman.runtime), "run", "--name=job", *podman.run_words("0"))
    run = [*words, "--detach", "--rootfs", podman.root(), *FOREVER]
    container = processes.succeed(run, env=podman.env).strip()
    base = podman.podman(podman.runtime)

    assert facts("job") == (container, "podman", "", "running")
    processes.succeed([*base, "stop", "job"], env=podman.env)
    assert facts("job") == (container, "podman", "", "stopped")
    processes.succeed([*base, "rm", "job"], env=podman.env)
    assert facts("job") == (container, "podman", "", "gone")


def test_image_of_podman(podman: Podman, machine: Machine, tmp_path: Path) -> None:
    """By its name, in podman's storage; podman is not called."""
    name, env = "localhost/nvcr-explained:latest", ("NVIDIA_VISIBLE_DEVICES=0",)
    rootfs.archive(machine.scratch / "rootfs", tmp_path / "image", name=name, env=env)
    words = podman.podman(podman.runtime)
    processes.succeed([*words, "load", "--input", os.fspath(tmp_path / "image")], env=podman.env)
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{podman.folder}/root"\n'
    )
    place = {
        "CONTAINERS_STORAGE_CONF": os.fspath(tmp_path / "storage.conf"),
        "DOCKER_HOST": "unix:///nowhere",
    }

    said = json.loads(explain("--image", "nvcr-explained", "--json", **place))

    assert said["source"].startswith("containers/storage")
    assert (said["requested"], said["files"]) == (["0"], "")
    assert said["libc"]["name"] == "none"
    processes.succeed([*words, "rmi", name], env=podman.env)


def test_container_of_a_pod(pods: Pods, machine: Machine) -> None:
    """By the names of the pod and its own, which are in the record: nobody is asked."""
    version = 3 if installed.version_of("containerd") >= (2,) else 2
    folder = machine.scratch / "explained"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(containerd_of_pods.text(folder, version))
    runtime = machine.runtime("explained", installed.require("runc"))
    containerd_of_pods.add(file, runtime.path, [], is_on=False)

    with pods.daemon(file) as service:
        pod = service.start_pod("nvidia")
        try:
            container = pod.start(gpus="0")
            labels = container.inspect()["runtimeSpec"]["annotations"]
            name, of_pod = (
                labels[f"io.kubernetes.cri.{part}-name"] for part in ("container", "sandbox")
            )
            said = json.loads(explain(container.id, "--json"))
            assert said["names"][0] == f"{of_pod}/{name}"
            assert facts(f"{of_pod}/{name}") == (
                *(container.id, "containerd"),
                *(labels["io.kubernetes.cri.image-name"], "running"),
            )
        finally:
            pod.remove()
        assert facts(f"{of_pod}/{name}")[3] == "gone"


def test_containerd(live_containerd: Containerd) -> None:
    container = live_containerd.start(gpus="0")

    assert facts(container.id) == (container.id, "containerd", "", "running")
    container.stop()
    assert facts(container.id) == (container.id, "containerd", "", "gone")
    container.remove()
    live_containerd.clean()


@pytest.mark.parametrize("name", ["live_runc_v1", "live_crun_v2"])
def test_low_level_runtime(name: str, request: pytest.FixtureRequest) -> None:
    """Its own files tell that a container runs, has stopped, and is deleted."""
    bundles: Bundles = request.getfixturevalue(name)
    container = bundles.start(gpus="0")

    assert facts(container.id) == (container.id, "", "", "running")
    container.kill()
    assert facts(container.id) == (container.id, "", "", "stopped")
    container.remove()
    assert facts(container.id) == (container.id, "", "", "gone")
