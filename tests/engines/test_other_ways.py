# SPDX-License-Identifier: Apache-2.0
"""What others make of GPUs: compose, quadlet, builds, and gVisor below our runtime.

They are no engines of their own; where a program is missing, its tests skip.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from . import bundles, cgroups, configured, installed, places, processes, rootfs, ways
from .bundles import Bundles
from .installed import require
from .machine import Machine
from .places import Dockers
from .podman import Podman

GENERATOR = Path("/usr/lib/systemd/system-generators/podman-system-generator")
LOOK = "RUN find /dev -name 'nvidia?'"
NODE = "/dev/nvidia0\n"


def reserving(driver: str, device: str, **others: Any) -> dict[str, Any]:
    """Return a service with a device in ``deploy``."""
    reserved = {"driver": driver, "device_ids": [device], "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [reserved]}}}, **others}


# The daemon, the service, and since which version of compose it works.
VARIABLE = ["NVIDIA_VISIBLE_DEVICES=0"]
GPUS = [{"driver": "nvidia", "device_ids": ["0"]}]
SERVICES: dict[str, tuple[str, dict[str, Any], ways.Version]] = {
    "compose-runtime": ("named", {"runtime": "nvidia", "environment": VARIABLE}, ()),
    "compose-deploy": ("named", reserving("nvidia", "0", runtime="nvidia"), ()),
    "compose-deploy-default": ("default", reserving("nvidia", "0"), ()),
    "compose-deploy-cdi": ("cdi", reserving("cdi", "nvidia.com/gpu=0"), ()),
    "compose-gpus": ("named", {"runtime": "nvidia", "gpus": GPUS}, (2, 30)),
    "compose-devices": ("cdi", {"devices": ["nvidia.com/gpu=0"]}, (2, 30)),
}


@pytest.mark.parametrize("name", SERVICES)
def test_compose(name: str, dockers: Dockers, tmp_path: Path) -> None:
    place, service, since = SERVICES[name]
    client = dockers.client(place)
    version = processes.run([*client, "compose", "version", "--short"])
    if version.returncode != 0:
        pytest.skip("docker has no compose")
    numbers = tuple(map(int, re.findall(r"\d+", version.stdout)[:2]))
    if place == "cdi" and installed.version_of(ways.DOCKER) < (25,):
        pytest.skip("docker has no CDI")
    common = {"image": rootfs.IMAGE, "network_mode": "none", "command": [*configured.LOOK]}
    file = tmp_path / "compose.json"
    file.write_text(json.dumps({"services": {"c": common | service}}))
    done = processes.run([*client, "compose", "--file", os.fspath(file), "run", "--rm", "-T", "c"])

    if numbers >= since:
        assert NODE in done.stdout, done.stderr
        assert "/dev/nvidia1\n" not in done.stdout
        places.note(name, "works")
    else:
        assert NODE not in done.stdout
        places.note(name, "no" if done.returncode else ways.NOTHING)


def test_quadlet(tmp_path: Path) -> None:
    """The unit's line has the words of a way that is tried elsewhere."""
    if not GENERATOR.exists():
        pytest.skip("podman has no quadlet")
    unit = f"[Container]\nImage={rootfs.IMAGE}\nAddDevice=nvidia.com/gpu=0\n"
    (tmp_path / "c.container").write_text(unit)
    env = {**os.environ, "QUADLET_UNIT_DIRS": os.fspath(tmp_path)}
    done = processes.run([os.fspath(GENERATOR), "--dryrun"], env=env)

    assert "--device nvidia.com/gpu=0" in done.stdout, done.stderr
    places.note("quadlet", "works")


@pytest.mark.parametrize("name", ["docker-build-classic", "docker-build-kit"])
def test_docker_build(name: str, dockers: Dockers, tmp_path: Path) -> None:
    """The classic builder runs containers of the default runtime, BuildKit a runc of its own."""
    client = dockers.client("default")
    is_classic = name == "docker-build-classic"
    if not is_classic and processes.run([*client, "buildx", "version"]).returncode != 0:
        pytest.skip("docker has no buildx")
    text = f"FROM {rootfs.IMAGE}\nENV NVIDIA_VISIBLE_DEVICES=0\n{LOOK}\n"
    (tmp_path / "Dockerfile").write_text(text)
    env = {
        **os.environ,
        "DOCKER_BUILDKIT": "0" if is_classic else "1",
        "BUILDKIT_PROGRESS": "plain",
    }
    words = ("build", "--network=none", "--no-cache", os.fspath(tmp_path))
    done = processes.run([*client, *words], env=env)

    assert done.returncode == 0, done.stderr
    assert (NODE in done.stdout + done.stderr) is is_classic
    places.note(name, "works" if is_classic else ways.NOTHING)


# The runtime, a line of the file, and what is refused: by podman before 5.5, and by runc since.
BUILDS: dict[str, tuple[str, str, tuple[str, str]]] = {
    "podman-build-env": ("nvidia", "ENV NVIDIA_VISIBLE_DEVICES=0\n", ("", "")),
    "podman-build-device": ("runc", "", ("nvidia.com/gpu=0", "field cannot be empty")),
}


@pytest.mark.parametrize("name", BUILDS)
def test_podman_build(name: str, machine: Machine, live_podman: Podman, tmp_path: Path) -> None:
    """By CDI an old one finds no device; a new one writes a device rule that runc refuses."""
    program, variable, refusals = BUILDS[name]
    refusal = refusals[installed.version_of(ways.PODMAN) >= (5, 5)]
    shutil.copytree(machine.scratch / "rootfs", tmp_path / "rootfs", symlinks=True)
    (tmp_path / "Containerfile").write_text(f"FROM scratch\nADD rootfs /\n{variable}{LOOK}\n")
    path = live_podman.runtime.path if program == "nvidia" else Path(require(program))
    podman = live_podman.podman(replace(live_podman.runtime, path=path))
    device = () if variable else ("--device=nvidia.com/gpu=0",)
    words = (*podman, "build", "--no-cache", "--network=none", *device, os.fspath(tmp_path))
    done = processes.run([*places.rootful(machine.scratch / "cdi"), *words], env=live_podman.env)

    assert (done.returncode == 0) is (not refusal), done.stderr
    assert (NODE in done.stdout) is (not refusal)
    assert refusal in done.stderr
    places.note(name, f"no: `{refusal}`" if refusal else "works")


@pytest.fixture(scope="module")
def gvisor(machine: Machine, busybox: str, group: str) -> Iterator[Bundles]:
    """Use gVisor's runsc as the low-level runtime."""
    runsc = machine.scratch / "bin/runsc"
    runsc.parent.mkdir()
    runsc.write_text(f'#!/bin/sh\nexec {require("runsc")} --network=none --ignore-cgroups "$@"\n')
    runsc.chmod(0o755)
    live = Bundles(
        folder=machine.scratch / "runsc",
        busybox=busybox,
        enter=cgroups.enter("v1"),
        group=group,
        runtime=machine.runtime("runsc", os.fspath(runsc)),
        debug_runtime=machine.runtime("runsc-debug", os.fspath(runsc), debug=True),
    )
    alone = live.run_by(os.fspath(runsc), "true", gpus=None)
    if alone.returncode != 0:
        pytest.skip(f"runsc alone cannot run a container here: {alone.stderr}")
    yield live


def test_gvisor(gvisor: Bundles) -> None:
    """It shows the nodes; to use them needs its flag --nvproxy, and a driver that this knows."""
    bundle = gvisor.bundle(configured.LOOK, "0")
    words = gvisor.words(gvisor.runtime)
    code = gvisor.create(bundle, words)
    assert code == 0, (bundle / "stderr").read_text()
    container = gvisor.begin(bundle, words)
    bundles.await_exit(container.pid)  # to delete it would wait for a parent to do that

    nodes = "".join(sorted((bundle / "stdout").read_text().splitlines(keepends=True)))
    assert nodes == configured.SEEN
    places.note("gvisor", "shows the nodes")
