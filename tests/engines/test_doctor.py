# SPDX-License-Identifier: Apache-2.0
"""What doctor says of real engines: nothing, or what keeps them from giving containers GPUs.

The daemons run here, with a runtime that works; doctor looks from a simulated machine with a GPU.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from doctor import patient

from nvidia_runtime.doctor.engines import docker as docker_checks
from nvidia_runtime.doctor.engines import files, ways
from nvidia_runtime.doctor.finding import NOTE
from nvidia_runtime.simulate import build

from . import docker, processes
from . import pods as containerd_of_pods
from .containerd import daemon_on
from .installed import require, version_of
from .machine import Machine
from .places import Containerds, Dockers
from .podman import Podman
from .pods import Pods

OURS = "nvidia-container-runtime"
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def look(engine: str, fault: str = "", **env: str) -> tuple[str, list[str]]:
    """Examine a machine with one engine; return its verdict, and its errors and warnings.

    Notes differ with the engine's version.
    """
    program = "dockerd" if engine == "docker" else engine
    answer = patient.examine("t4x1", fault, engines=(program,), env={"PATH": SEARCH, **env})
    assert list(answer.document["engines"]) == [engine], answer.document
    general = [one["code"] for one in answer.document["findings"] if not one["engine"]]
    codes = [
        one["code"]
        for one in answer.document["findings"]
        if one["code"].startswith("NCT-04") and one["severity"] != NOTE
    ]
    verdict = answer.document["engines"][engine]
    return ("" if verdict in general else verdict), codes


def of_docker(client: tuple[str, ...]) -> dict[str, str]:
    """Return the variable that names a daemon, of the words of its client."""
    return {"DOCKER_HOST": client[client.index("--host") + 1]}


def test_docker(dockers: Dockers) -> None:
    assert look("docker", **of_docker(dockers.client("named"))) == ("", [])


def test_docker_by_default(dockers: Dockers) -> None:
    assert look("docker", **of_docker(dockers.client("default"))) == ("", [])


def test_docker_without_hook_in_its_path(dockers: Dockers) -> None:
    got = look("docker", **of_docker(dockers.client("bare")))

    assert got == ("", [docker_checks.GPUS.id])


def test_docker_that_was_not_restarted(
    machine: Machine, containerd_socket: Path, group: str
) -> None:
    require("dockerd")
    require("docker")
    folder = machine.scratch / "doctor-docker"
    folder.mkdir()
    file = folder / "daemon.json"
    settings = docker.settings(folder, containerd=containerd_socket, group=group)
    file.write_text(json.dumps(settings))
    ours = machine.runtime("doctor", require("runc"))
    configured = {**settings, "runtimes": {"nvidia": {"path": os.fspath(ours.path)}}}
    with docker.daemon_on(file, env=dict(os.environ)) as client:
        before = look("docker", **of_docker(client))
        file.write_text(json.dumps(configured))
        after = look("docker", **of_docker(client))
        file.write_text(json.dumps({**configured, "default-runtime": "gone"}))
        broken = look("docker", **of_docker(client))

    assert before == (ways.NO_WAY.id, [ways.NO_WAY.id])
    assert after == (files.BEHIND.id, [files.BEHIND.id])
    assert broken[0] == broken[1][0]
    assert broken[1][-1:] == [files.NO_DEFAULT.id] or files.REFUSED.id in broken[1]


def test_containerd(containerds: Containerds) -> None:
    service = containerds.service("cri")

    assert look("containerd", CONTAINERD_ADDRESS=os.fspath(service.socket)) == ("", [])


def test_containerd_that_does_not_know_us(machine: Machine, pods: Pods) -> None:
    folder = machine.scratch / "doctor-containerd"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(containerd_of_pods.text(folder, 2))
    with daemon_on(file, env=pods.env) as socket:
        got = look("containerd", CONTAINERD_ADDRESS=os.fspath(socket))

    assert got == (ways.NO_WAY.id, [ways.NO_WAY.id])


def test_containerd_without_its_default(machine: Machine, pods: Pods, tmp_path: Path) -> None:
    """A table of runtimes replaces the built-in one, so that CRI is not loaded."""
    if version_of("containerd") >= (2,):
        pytest.skip("containerd 2 has a runc of its own")
    folder = machine.scratch / "doctor-containerd-default"
    folder.mkdir()
    file = folder / "config.toml"
    program = machine.runtime("doctor-containerd", require("runc")).path
    text = containerd_of_pods.text(folder, 2).replace(".runtimes.runc]", ".runtimes.nvidia]")
    table = f"{containerd_of_pods.PLUGINS[2]}.containerd.runtimes.nvidia.options"
    file.write_text(f"{text}    [{table}]\n      BinaryName = {json.dumps(os.fspath(program))}\n")
    with daemon_on(file, env=pods.env) as socket:
        # Only a program of our own view is asked for its version: the root is the host's here.
        env = {"PATH": SEARCH, "CONTAINERD_ADDRESS": os.fspath(socket)}
        answer = patient.examine("t4x1", env=env, root_only=tmp_path / "driver")
        log = (folder / "log").read_text()

    (finding,) = [one for one in answer.document["findings"] if one["engine"] == "containerd"]
    assert finding["code"] == files.NO_DEFAULT.id
    assert "no corresponding runtime configured" in log


def test_podman(live_podman: Podman, tmp_path: Path) -> None:
    file = tmp_path / "containers.conf"
    file.write_text(
        (live_podman.folder / "containers.conf").read_text()
        + f'[engine.runtimes]\nnvidia = ["{live_podman.runtime.path}"]\n'
    )
    words = ("podman", *live_podman.podman(live_podman.runtime)[1:-2], "--runtime=nvidia")
    done = processes.run(
        [
            *words,
            "run",
            *live_podman.run_words("0"),
            "--rm",
            "--rootfs",
            live_podman.root(),
            "true",
        ],
        env={**live_podman.env, "CONTAINERS_CONF": os.fspath(file)},
    )

    assert done.returncode == 0, done.stderr
    assert look("podman", CONTAINERS_CONF=os.fspath(file)) == ("", [])


def test_podman_that_does_not_know_us(live_podman: Podman) -> None:
    file = os.fspath(live_podman.folder / "containers.conf")
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": "all", "containerEdits": {"env": ["A=b"]}}],
    }
    (folder, *_) = build.PRIVATE
    with_spec = f"printf %s '{json.dumps(spec)}' >{folder}/nvidia.json"

    assert look("podman", CONTAINERS_CONF=file) == (ways.NO_WAY.id, [ways.NO_WAY.id])
    assert look("podman", with_spec, CONTAINERS_CONF=file) == ("", [])
