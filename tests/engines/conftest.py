# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the machine once, each daemon once, and every engine under one name.

A fixture skips, with the reason, where root, an engine or a part of the kernel is missing. Nothing
stays behind: no process, no mount, no control group, no folder outside the scratch one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from . import cgroups, containerd, docker, podman, processes, rootfs
from . import pods as containerd_of_pods
from .bundles import Bundles
from .containerd import Containerd
from .docker import Docker
from .engine import Engine
from .installed import require
from .machine import Machine
from .places import Containerds, Dockers
from .podman import Podman
from .pods import Pods
from .running import VIEWS, Live

TREE = Path(__file__).resolve().parents[2]
# Looks at the mount table, ten a second, until mounts go by themselves.
GRACE = 30
ENGINES = ("docker", "containerd", "podman", "runc_v1", "runc_v2", "crun_v1", "crun_v2")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Make a folder whose name is short, for sockets; see that nothing stays mounted in it."""
    folder = Path(tempfile.mkdtemp(prefix="nvcr", dir="/tmp"))
    folder.chmod(0o755)  # as a user namespace or another user would meet it
    yield folder
    release(folder)
    shutil.rmtree(folder)


def release(folder: Path) -> None:
    """Unmount what daemons and containers leave mounted below a folder when they end.

    dockerd unmounts its own folder as the last it does, and leaves it where it was in a hurry; a
    container's shim may outlive the daemon.
    """
    for _ in range(GRACE):
        if not mounted_below(folder):
            return
        time.sleep(0.1)
    for point in reversed(mounted_below(folder)):
        if processes.run(["umount", point]).returncode != 0:
            processes.run(["umount", "--lazy", point])
    assert mounted_below(folder) == []


def mounted_below(folder: Path) -> list[str]:
    """List the mount points below a folder, in the order in which they were mounted."""
    rows = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in rows if point.startswith(f"{folder}/")]


@pytest.fixture(scope="session")
def group() -> Iterator[str]:
    """Name the control group under which all containers of this run are."""
    name = f"nvcr-{os.getpid()}"
    yield name
    cgroups.remove(name)


@pytest.fixture(scope="session")
def machine(scratch: Path) -> Machine:
    """Build the simulated machine for the runtime under test."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    folder = Path(os.environ.get("NVCR_BIN") or TREE / "packaging/bin").resolve()
    shim = folder / "nvidia-container-runtime"
    assert os.access(shim, os.X_OK), f"no runtime under test: {shim}; set NVCR_BIN"
    machine = Machine(scratch=scratch, shim=shim)
    try:
        machine.build()
    except PermissionError:
        pytest.skip("no CAP_MKNOD")
    return machine


@pytest.fixture(scope="session")
def busybox(machine: Machine) -> str:
    """Find a busybox that runs without a C library beside it."""
    program = require("busybox")
    root = machine.scratch / "rootfs"
    rootfs.build(root, program)
    if processes.run(["chroot", os.fspath(root), "/bin/true"]).returncode != 0:
        pytest.skip(f"{program} is not static")
    return program


@pytest.fixture(scope="session")
def image(machine: Machine, busybox: str) -> Path:
    """Pack the container image."""
    file = machine.scratch / "image.tar"
    rootfs.archive(machine.scratch / "rootfs", file)
    return file


@pytest.fixture(scope="session")
def daemon_env(machine: Machine) -> dict[str, str]:
    """Name the machine's settings in the daemons' environment, for a runtime without a wrapper."""
    home = machine.scratch / "xdg"
    machine.write_config(home / "nvidia-container-runtime/config.toml", require("runc"))
    return {**os.environ, "XDG_CONFIG_HOME": os.fspath(home)}


@pytest.fixture(scope="session")
def containerd_socket(machine: Machine, daemon_env: dict[str, str]) -> Iterator[Path]:
    """Run containerd, once, for `ctr` and for docker."""
    require("containerd")
    with containerd.daemon(machine.scratch / "c", env=daemon_env) as socket:
        yield socket


@pytest.fixture(scope="session")
def pods(
    machine: Machine, busybox: str, image: Path, group: str, daemon_env: dict[str, str]
) -> Pods:
    """Prepare what pods need."""
    pytest.importorskip("grpc", reason="grpcio is not installed")
    require("containerd")
    require("ctr")
    pause = machine.scratch / "pause.tar"
    command = ("/bin/sleep", "1000")
    rootfs.archive(
        machine.scratch / "rootfs", pause, name=containerd_of_pods.PAUSE, command=command
    )
    return Pods(group=group, env=daemon_env, images=(image, pause))


@pytest.fixture(scope="session")
def dockers(
    machine: Machine, image: Path, containerd_socket: Path, group: str
) -> Iterator[Dockers]:
    """Keep docker's daemons until all ways have been tried."""
    require("dockerd")
    require("docker")
    with ExitStack() as stack:
        yield Dockers(
            machine=machine, image=image, containerd=containerd_socket, group=group, stack=stack
        )


@pytest.fixture(scope="session")
def containerds(machine: Machine, pods: Pods) -> Iterator[Containerds]:
    """Keep the daemons until all ways have been tried."""
    with ExitStack() as stack:
        yield Containerds(machine=machine, pods=pods, stack=stack)


@pytest.fixture(scope="session")
def live_docker(
    machine: Machine,
    image: Path,
    containerd_socket: Path,
    group: str,
    daemon_env: dict[str, str],
) -> Iterator[Docker]:
    """Run dockerd, once."""
    require("dockerd")
    require("docker")
    runtime = machine.runtime("docker", require("runc"))
    debug_runtime = machine.runtime("docker-debug", require("runc"), debug=True)
    with docker.daemon(
        machine.scratch / "d",
        containerd=containerd_socket,
        group=group,
        runtimes={
            "nvidia": runtime.path,
            "nvidia-debug": debug_runtime.path,
            "nvidia-bare": machine.shim,
        },
        env=daemon_env,
    ) as client:
        processes.succeed([*client, "load", "--input", os.fspath(image)])
        live = Docker(docker=client, runtime=runtime, debug_runtime=debug_runtime)
        yield live
        live.clean()


@pytest.fixture(scope="session")
def live_containerd(
    machine: Machine, image: Path, containerd_socket: Path, group: str
) -> Iterator[Containerd]:
    """Import the image into a namespace of our own."""
    ctr = (require("ctr"), "--address", os.fspath(containerd_socket), "--namespace", "nvcr")
    processes.succeed([*ctr, *containerd.importing(), os.fspath(image)])
    live = Containerd(
        ctr=ctr,
        runc_root=machine.scratch / "c/runc",
        group=group,
        runtime=machine.runtime("containerd", require("runc")),
        debug_runtime=machine.runtime("containerd-debug", require("runc"), debug=True),
    )
    yield live
    live.clean()


@pytest.fixture(scope="session")
def live_podman(machine: Machine, busybox: str, group: str) -> Iterator[Podman]:
    """Return podman its folder."""
    require("podman")
    require("conmon")
    folder = machine.scratch / "p"
    folder.mkdir()
    (folder / "containers.conf").write_text(podman.CONFIG)
    live = Podman(
        folder=folder,
        busybox=busybox,
        group=group,
        runtime=machine.runtime("podman", require("runc")),
        debug_runtime=machine.runtime("podman-debug", require("runc"), debug=True),
    )
    yield live
    live.clean()


@pytest.fixture(scope="session")
def live_runc_v1(machine: Machine, busybox: str, group: str) -> Iterator[Bundles]:
    """Run runc on cgroup v1."""
    yield from live_bundles("runc_v1", machine, busybox, group)


@pytest.fixture(scope="session")
def live_runc_v2(machine: Machine, busybox: str, group: str) -> Iterator[Bundles]:
    """Run runc on cgroup v2, where the device rules are a program of the kernel's BPF."""
    yield from live_bundles("runc_v2", machine, busybox, group)


@pytest.fixture(scope="session")
def live_crun_v1(machine: Machine, busybox: str, group: str) -> Iterator[Bundles]:
    """Run crun on cgroup v1; it refuses a machine with both."""
    yield from live_bundles("crun_v1", machine, busybox, group)


@pytest.fixture(scope="session")
def live_crun_v2(machine: Machine, busybox: str, group: str) -> Iterator[Bundles]:
    """Run crun on cgroup v2."""
    yield from live_bundles("crun_v2", machine, busybox, group)


def live_bundles(name: str, machine: Machine, busybox: str, group: str) -> Iterator[Bundles]:
    """Use a low-level runtime in one view of the control groups, if it works there without us."""
    program, view = name.split("_")
    low_level = require(program)
    if why := cgroups.missing(view):
        pytest.skip(why)
    live = Bundles(
        folder=machine.scratch / name,
        busybox=busybox,
        enter=cgroups.enter(view, program),
        group=group,
        runtime=machine.runtime(name, low_level),
        debug_runtime=machine.runtime(f"{name}-debug", low_level, debug=True),
    )
    alone = live.run_by(low_level, "true", gpus=None)
    if alone.returncode != 0:
        pytest.skip(f"{program} alone cannot run a container on cgroup {view}: {alone.stderr}")
    yield live
    live.clean()


@pytest.fixture(params=VIEWS)
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    """Start a container in each view of the control groups."""
    bundles: Bundles = request.getfixturevalue(f"live_{request.param}")
    container = bundles.start(gpus="0")
    yield Live(container=container, pid=container.pid, hierarchy=VIEWS[request.param])
    container.kill()
    container.remove()
    bundles.clean()


@pytest.fixture(scope="session", params=ENGINES)
def live_engine(request: pytest.FixtureRequest) -> Engine:
    """Take each engine in turn."""
    live: Engine = request.getfixturevalue(f"live_{request.param}")
    return live


@pytest.fixture
def engine(live_engine: Engine) -> Iterator[Engine]:
    """Return an engine without containers, whatever the test before did."""
    yield live_engine
    live_engine.clean()
