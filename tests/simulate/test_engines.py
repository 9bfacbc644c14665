# SPDX-License-Identifier: Apache-2.0
"""Real engines on a simulated machine: with our default settings a container gets what it asks for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import simulated
from cli import ctk
from distributions.conftest import low_level
from distributions.site import Site, hold
from engines import cgroups, containerd, docker, podman, processes
from engines.bundles import Bundles
from engines.containerd import Containerd
from engines.docker import Docker
from engines.engine import Engine
from engines.installed import require
from engines.machine import Machine, Runtime
from engines.podman import Podman
from engines.rootfs import IMAGE

NOBODY = 65534
LOOK = ("find", "/dev", "-name", "nvidia[0-9]*")
# The minors of the machine's GPUs are in another order than NVML's.
ASKED = {"all": "01234567", "0,1": "23", "0": "2"}
ENGINES = ("runc", "crun", "podman", "rootless_podman", "containerd", "docker")


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    """Keep a machine with eight GPUs."""
    with hold("a100x8", machine.scratch / "simulated", machine.shim) as held:
        yield held


@pytest.fixture(scope="module")
def runtime(machine: Machine) -> Runtime:
    """Return our runtime as it is installed; no config.toml is there."""
    return Runtime(path=machine.shim, calls=machine.scratch, log=machine.scratch)


@pytest.fixture(scope="module")
def on_runc(site: Site, group: str, runtime: Runtime) -> Bundles:
    """Run runc as it runs on this machine."""
    return replace(low_level(site, group, "runc", cgroups.usual()), runtime=runtime)


@pytest.fixture(scope="module")
def on_crun(site: Site, group: str) -> Bundles:
    """Run crun as it runs on this machine; a setting names it, since runc comes first."""
    return low_level(site, group, "crun", cgroups.usual())


@pytest.fixture(scope="module")
def on_podman(site: Site, busybox: str, group: str, runtime: Runtime) -> Podman:
    """Return podman of root's."""
    require("podman")
    require("conmon")
    folder = site.scratch / "p"
    folder.mkdir()
    (folder / "containers.conf").write_text(podman.CONFIG)
    return Podman(
        folder=folder,
        busybox=busybox,
        group=group,
        runtime=runtime,
        debug_runtime=runtime,
        enter=site.enter,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rootless(Podman):
    """Podman of a user who has no other user's id."""

    @property
    def env(self) -> dict[str, str]:
        """The environment that podman gets."""
        return {**Podman.env.__get__(self), "XDG_RUNTIME_DIR": os.fspath(self.folder)}

    def run_words(self, gpus: str | None) -> tuple[str, ...]:
        """Return the options of `podman run`: control groups are root's."""
        asked = () if gpus is None else ("--env", f"NVIDIA_VISIBLE_DEVICES={gpus}")
        return ("--network", "none", *asked)

    def root(self) -> str:
        """Make the root file system of a new container, which is the user's."""
        root = Path(Podman.root(self))
        for path in (root, *root.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        return os.fspath(root)

    def end(self) -> None:
        """End the process that keeps the user's namespace."""
        for file in self.folder.rglob("pause.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def on_rootless_podman(site: Site, on_podman: Podman) -> Iterator[Podman]:
    """Return podman of a user's."""
    setpriv = require("setpriv")
    words = (setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    enter = (*site.enter, *words)
    folder = site.scratch / "u"
    folder.mkdir(mode=0o700)
    shutil.copy(on_podman.folder / "containers.conf", folder)
    shutil.chown(folder, NOBODY, NOBODY)
    session = ("env", f"XDG_RUNTIME_DIR={folder}")  # else the user's state would be in /tmp
    if processes.run([*enter, *session, os.fspath(site.shim), "--version"]).returncode:
        pytest.skip(f"another user cannot run {site.shim}")
    user = Rootless(
        folder=folder,
        busybox=on_podman.busybox,
        group="",
        runtime=on_podman.runtime,
        debug_runtime=on_podman.runtime,
        enter=enter,
    )
    yield user
    user.end()


@pytest.fixture(scope="module")
def on_containerd(site: Site, image: Path, group: str, runtime: Runtime) -> Iterator[Containerd]:
    """Run containerd on the machine."""
    require("containerd")
    folder = site.scratch / "c"
    folder.mkdir()
    (folder / "config.toml").write_text(containerd.CONFIG)
    with containerd.daemon_on(folder / "config.toml", env=os.environ, enter=site.enter) as socket:
        ctr = (require("ctr"), "--address", os.fspath(socket), "--namespace", "nvcr")
        snapshotter = ("--snapshotter", containerd.SNAPSHOTTER)
        processes.succeed([*ctr, "images", "import", *snapshotter, os.fspath(image)])
        live = Containerd(
            ctr=ctr,
            runc_root=folder / "runc",
            group=group,
            runtime=runtime,
            debug_runtime=runtime,
        )
        yield live
        live.clean()


@pytest.fixture(scope="module")
def on_docker(site: Site, image: Path, group: str, runtime: Runtime) -> Iterator[Docker]:
    """Run dockerd on the machine, with a containerd of its own; nvidia-ctk tells it of us."""
    require("dockerd")
    require("docker")
    folder = site.scratch / "d"
    folder.mkdir()
    file = folder / "daemon.json"
    settings = docker.settings(folder, containerd=Path(), group=group)
    del settings["containerd"]
    file.write_text(json.dumps(settings))
    nvidia_ctk(
        site, "runtime", "configure", "--runtime=docker", f"--config={file}",
        f"--nvidia-runtime-path={runtime.path}",
    )  # fmt: skip
    # docker has its option --gpus where it finds our prestart hook, as beside what is installed.
    path = f"{site.shim.parent}:{os.environ['PATH']}"
    with docker.daemon_on(file, env={**os.environ, "PATH": path}, enter=site.enter) as client:
        processes.succeed([*client, "load", "--input", os.fspath(image)])
        live = Docker(docker=client, runtime=runtime, debug_runtime=runtime)
        yield live
        live.clean()


def nvidia_ctk(site: Site, *words: str) -> None:
    """Run nvidia-ctk on the machine."""
    path = f"PYTHONPATH={simulated.TREE}"
    site.succeed("env", path, sys.executable, "-c", ctk.PROGRAM, *words)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Take each engine in turn."""
    live: Engine = request.getfixturevalue(f"on_{request.param}")
    return live


def minors(listing: str) -> str:
    """Return the minors of the GPUs in a listing of their nodes."""
    return "".join(sorted(re.findall(r"^/dev/nvidia(\d)$", listing, re.MULTILINE)))


@pytest.mark.parametrize("gpus", ASKED)
def test_container_gets_what_it_asks_for(engine: Engine, gpus: str) -> None:
    done = engine.run(*LOOK, gpus=gpus)

    assert done.returncode == 0, done.stderr
    assert minors(done.stdout) == ASKED[gpus]


@pytest.mark.parametrize(("gpus", "seen"), [("all", "01234567"), ("2", "23"), ("device=1", "3")])
def test_docker_gives_gpus_by_its_own_option(on_docker: Docker, gpus: str, seen: str) -> None:
    words = (*on_docker.run_words(None, "nvidia"), "--rm", "--gpus", gpus, IMAGE)

    assert minors(processes.succeed([*words, *LOOK])) == seen


@pytest.mark.parametrize("user", ["podman", "rootless_podman"])
@pytest.mark.parametrize("gpus", ASKED)
def test_podman_gives_gpus_by_cdi(
    request: pytest.FixtureRequest, site: Site, gpus: str, user: str
) -> None:
    """Without our runtime: podman reads the spec, and its runc runs the hooks."""
    live: Podman = request.getfixturevalue(f"on_{user}")
    live = replace(live, runtime=replace(live.runtime, path=Path(require("runc"))))
    hook = site.shim.with_name("nvidia-cdi-hook")
    nvidia_ctk(
        site, "cdi", "generate", "--output=/etc/cdi/nvidia.yaml", f"--nvidia-cdi-hook-path={hook}"
    )
    try:
        devices = [f"--device=nvidia.com/gpu={name}" for name in gpus.split(",")]
        words = [*live.podman(live.runtime), "run", "--rm", *live.run_words(None), *devices]

        said = processes.succeed([*words, "--rootfs", live.root(), *LOOK], env=live.env)

        assert minors(said) == ASKED[gpus]
    finally:
        site.succeed("rm", "/etc/cdi/nvidia.yaml")
