# SPDX-License-Identifier: Apache-2.0
"""docker, containerd and podman on a simulated machine: what they make of a container's root.

Each mounts roots in its own way, all before the runtime is called, and none of them starts a hook.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engines import containerd, docker, podman, processes, rootfs
from engines.installed import require
from engines.machine import Runtime

from . import images, sight
from .site import Site

IMAGE = "docker.io/library/nvcr-bookworm:latest"
PAUSE = "nvcr.test/pause:latest"
FOLDER = "/usr/lib/x86_64-linux-gnu"
SLEEP = ("sleep", "1000")
ASK = ("--env", "NVIDIA_VISIBLE_DEVICES=all")
# `ctr` and pods in one daemon; the snapshotter is that of real hosts, for its mounts.
CONFIG = """\
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
      BinaryName = "{runtime}"
"""


@pytest.fixture(scope="module")
def runtime(site: Site) -> Runtime:
    """Make our runtime over runc, with no other setting."""
    return site.runtime("engines", require("runc"))


@pytest.fixture(scope="module")
def archives(site: Site) -> tuple[Path, Path]:
    """Pack the image, and the one that keeps a pod's namespaces."""
    image, pause = site.scratch / "image.tar", site.scratch / "pause.tar"
    rootfs.archive(images.get("bookworm"), image, name=IMAGE)
    rootfs.archive(images.get("busybox"), pause, name=PAUSE, command=("/bin/sleep", "1000"))
    return image, pause


@pytest.fixture(scope="module")
def socket(site: Site, runtime: Runtime, archives: tuple[Path, Path]) -> Iterator[Path]:
    """Run containerd on the machine, with both images for pods."""
    require("containerd")
    folder = site.scratch / "c"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(CONFIG.format(pause=PAUSE, folder=folder, runtime=runtime.path))
    with containerd.daemon_on(file, env=os.environ, enter=site.enter) as address:
        ctr = ("ctr", "--address", os.fspath(address), "--namespace=k8s.io", "images", "import")
        for archive in archives:
            processes.succeed([*ctr, "--snapshotter=overlayfs", os.fspath(archive)])
        yield address


def configs(site: Site, name: str) -> list[dict[str, Any]]:
    """Read the config.json of containers that run: those in the bundles of containerd."""
    return [
        json.loads(path.read_text())
        for path in (site.scratch / "c/state").rglob("config.json")
        if name in os.fspath(path)
    ]


def hooks(config: dict[str, Any]) -> list[str]:
    """List the hooks of NVIDIA's; docker has one of its own for networks."""
    entries = [hook for stage in config.get("hooks", {}).values() for hook in stage]
    return [hook["path"] for hook in entries if "nvidia" in hook["path"]]


def judge(tell: sight.Tell, site: Site, config: dict[str, Any]) -> None:
    """See that the container's programs find the driver, and that no hook of ours has run."""
    wanted = sight.libraries(config, site.path("/"))
    assert hooks(config) == []
    assert len(wanted) > 30
    assert wanted.keys() <= sight.cache(tell).keys()
    assert set(sight.loads(tell, wanted).values()) == {"loads"}


@contextmanager
def dockerd(
    site: Site, name: str, socket: Path, group: str, runtime: Runtime, image: Path, **more: str
) -> Iterator[tuple[str, ...]]:
    """Keep dockerd running on the machine; yield the words with which its client begins."""
    require("dockerd")
    require("docker")
    folder = site.scratch / name
    folder.mkdir()
    settings = docker.settings(folder, containerd=socket, group=group)
    settings |= {"storage-driver": "overlay2", **more}
    settings["runtimes"] = {"nvidia": {"path": os.fspath(runtime.path)}}
    file = folder / "daemon.json"
    file.write_text(json.dumps(settings))
    with docker.daemon_on(file, env=os.environ, enter=site.enter) as client:
        processes.succeed([*client, "load", "--input", os.fspath(image)])
        try:
            yield client
        finally:
            for container in processes.succeed([*client, "ps", "--all", "--quiet"]).split():
                processes.run([*client, "rm", "--force", container])


@pytest.fixture(scope="module")
def client(
    site: Site, socket: Path, group: str, runtime: Runtime, archives: tuple[Path, Path]
) -> Iterator[tuple[str, ...]]:
    """Run dockerd as it is installed."""
    with dockerd(site, "d", socket, group, runtime, archives[0]) as words:
        yield words


def start(client: Sequence[str], *options: str) -> tuple[str, sight.Tell]:
    """Start a container of docker's; return its id, and how to run a command in it."""
    words = [*client, "run", "--detach", "--network=none", "--runtime=nvidia", *ASK, *options]
    name = processes.succeed([*words, IMAGE, *SLEEP]).strip()
    return name, lambda *command: processes.succeed([*client, "exec", name, *command])


@pytest.mark.parametrize("option", ["--read-only=false", "--read-only=true"])
def test_docker(site: Site, client: tuple[str, ...], option: str) -> None:
    """docker's --read-only is runc's: the root is written to before."""
    name, tell = start(client, option)

    (config,) = configs(site, name)

    assert config["root"].get("readonly", False) is (option == "--read-only=true")
    judge(tell, site, config)


def test_a_container_of_dockers_that_is_started_ten_times_does_not_grow(
    site: Site, client: tuple[str, ...]
) -> None:
    name, tell = start(client)
    once = sorted(processes.succeed([*client, "diff", name]).splitlines())
    before = tell("sh", "-c", "cksum /etc/ld.so.cache /etc/ld.so.conf.d/*")

    for _ in range(9):
        processes.succeed([*client, "restart", "--time=0", name])

    assert sorted(processes.succeed([*client, "diff", name]).splitlines()) == once
    assert f"A {FOLDER}/libcuda.so.1" in once
    assert tell("sh", "-c", "cksum /etc/ld.so.cache /etc/ld.so.conf.d/*") == before
    judge(tell, site, configs(site, name)[0])


def test_an_image_that_was_committed_with_a_gpu_starts_as_before(
    site: Site, client: tuple[str, ...]
) -> None:
    name, _ = start(client)
    processes.succeed([*client, "commit", name, "nvcr-committed"])
    words = [*client, "run", "--detach", "--network=none", "--runtime=nvidia", *ASK]

    again = processes.succeed([*words, "nvcr-committed", *SLEEP]).strip()

    assert f"A {FOLDER}/libcuda.so.1" not in processes.succeed([*client, "diff", again])
    judge(
        lambda *command: processes.succeed([*client, "exec", again, *command]),
        site,
        configs(site, again)[0],
    )


def test_docker_with_a_user_namespace(
    site: Site, socket: Path, group: str, runtime: Runtime, archives: tuple[Path, Path]
) -> None:
    """The root belongs to another user: what is made in it must, too, or nobody could change it."""
    for name in ("subuid", "subgid"):
        site.path(f"/etc/{name}").write_text("nobody:200000:65536\nnogroup:200000:65536\n")
    remap = {"userns-remap": "nobody:nogroup"}
    with dockerd(site, "u", socket, group, runtime, archives[0], **remap) as client:
        name, tell = start(client)
        (config,) = configs(site, name)
        assert config["linux"]["uidMappings"][0]["hostID"] == 200000
        judge(tell, site, config)
        paths = (f"{FOLDER}/libcuda.so.1", "/etc/ld.so.cache", "/etc/ld.so.conf.d/00-nvcr.conf")
        assert tell("stat", "-c", "%u:%g", *paths).split() == ["0:0"] * len(paths)

        tell("ldconfig")

        judge(tell, site, config)


def test_ctr(site: Site, socket: Path, group: str, runtime: Runtime) -> None:
    ctr = (*site.enter, require("ctr"), "--address", os.fspath(socket), "--namespace=k8s.io")
    words = (
        *ctr, "run", "--detach", "--null-io", "--snapshotter=overlayfs", "--runc-binary",
        os.fspath(runtime.path), "--runc-root", f"{site.scratch}/c/runc", "--cgroup",
        f"/{group}/ctr", *ASK, IMAGE, "by-ctr",
    )  # fmt: skip
    processes.succeed([*words, *SLEEP])
    try:
        (config,) = configs(site, "by-ctr")
        numbers = iter(range(100))
        judge(
            lambda *command: processes.succeed(
                [*ctr, "tasks", "exec", f"--exec-id=e{next(numbers)}", "by-ctr", *command]
            ),
            site,
            config,
        )
    finally:
        processes.run([*ctr, "tasks", "delete", "--force", "by-ctr"])
        processes.run([*ctr, "containers", "delete", "by-ctr"])


def test_a_pod(site: Site, socket: Path, group: str) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed")
    from engines import cri

    service = cri.Cri(socket=socket, image=IMAGE, group=group, logs=site.scratch / "c/logs")
    pod = service.start_pod("nvidia")
    try:
        container = pod.start(gpus="all")

        def tell(*command: str) -> str:
            done = container.exec(*command)
            assert done.returncode == 0, done.stderr
            return done.stdout

        judge(tell, site, configs(site, container.id)[0])
    finally:
        pod.remove()


def test_podman_on_a_folder_that_containers_share(site: Site, group: str, runtime: Runtime) -> None:
    """Nothing is mounted over it, so what is written stays: once, by ten containers."""
    require("podman")
    require("conmon")
    folder, root = site.scratch / "p", site.scratch / "p/rootfs"
    root.mkdir(parents=True)
    site.succeed("cp", "-a", f"{images.get('bookworm')}/.", root)
    (folder / "containers.conf").write_text(podman.CONFIG)
    words = (
        *site.enter, "env", f"CONTAINERS_CONF={folder}/containers.conf", f"HOME={folder}",
        "podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--tmpdir",
        f"{folder}/tmp", "--storage-driver=vfs", "--runtime", os.fspath(runtime.path),
    )  # fmt: skip
    run = (*words, "run", "--detach", "--network=none", f"--cgroup-parent=/{group}", *ASK)

    def once() -> dict[str, str]:
        name = processes.succeed([*run, "--rootfs", os.fspath(root), *SLEEP]).strip()
        try:
            (file,) = (folder / "root").rglob(f"{name}/userdata/config.json")
            judge(
                lambda *command: processes.succeed([*words, "exec", name, *command]),
                site,
                json.loads(file.read_text()),
            )
        finally:
            processes.succeed([*words, "rm", "--force", "--time=0", name])
        return {
            os.fspath(path): f"{path.lstat().st_ino} {path.lstat().st_mtime_ns}"
            for path in [*(root / "etc").rglob("*"), *(root / FOLDER[1:]).iterdir()]
            if not path.is_dir()
        }

    first = once()
    for _ in range(9):
        assert once() == first
