# SPDX-License-Identifier: Apache-2.0
"""containerd, started on the files that `nvidia-ctk runtime configure` writes, as a kubelet uses it.

The story is that of `test_configured`, told by pods; and `ctr` runs the program that was configured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import configured, containerd, processes, rootfs
from .conftest import require
from .machine import Machine

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")

from . import cri  # noqa: E402 (needs grpc)

PAUSE = "nvcr.test/pause:latest"
CRI_2 = 'plugins."io.containerd.grpc.v1.cri"'
# What an administrator has: settings of his own, which the container needs, and comments.
CONTAINERD = """\
# of this host
{version}disabled_plugins = ["io.containerd.internal.v1.opt"] # it writes to /opt

[{cri}]
  sandbox_image = "{pause}" # no registry here
  restrict_oom_score_adj = true
  [{cri}.cni]
    bin_dir = "{folder}/cni"
    conf_dir = "{folder}/cni"
  [{cri}.containerd]
    snapshotter = "native"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


@pytest.fixture
def pods(
    machine: Machine, busybox: str, image: Path, group: str, daemon_env: dict[str, str]
) -> Pods:
    """Prepare what pods need."""
    require("containerd")
    require("ctr")
    pause = machine.scratch / "pause.tar"
    rootfs.archive(machine.scratch / "rootfs", pause, name=PAUSE, command=("/bin/sleep", "1000"))
    return Pods(group=group, env=daemon_env, images=(image, pause))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """containerd as a kubelet uses it."""

    group: str
    env: dict[str, str]
    images: tuple[Path, ...]

    @contextmanager
    def daemon(self, file: Path) -> Iterator[cri.Cri]:
        """Keep containerd running on a file, with the images."""
        with containerd.daemon_on(file, env=self.env) as socket:
            ctr = ["ctr", "--address", os.fspath(socket), "--namespace=k8s.io"]
            snapshotter = f"--snapshotter={containerd.SNAPSHOTTER}"
            for image in self.images:
                processes.succeed([*ctr, "images", "import", snapshotter, os.fspath(image)])
            logs = file.parent / "logs"
            yield cri.Cri(socket=socket, image=rootfs.IMAGE, group=self.group, logs=logs)


def seen_in_pod(service: cri.Cri, handler: str) -> tuple[str, dict[str, Any]]:
    """Run a pod with a container that asks for a GPU; return its nodes and what it is made of."""
    pod = service.start_pod(handler)
    try:
        container = pod.start(gpus="0")
        got = container.exec(*configured.LOOK)
        assert got.returncode == 0, got.stderr
        return "".join(sorted(got.stdout.splitlines(keepends=True))), container.inspect()
    finally:
        pod.remove()


@pytest.mark.parametrize(
    ("version", "plugin", "drop_in"),
    [
        pytest.param("version = 2\n", CRI_2, "conf.d/99-nvidia.toml", id="version 2, drop-in"),
        pytest.param("version = 2\n", CRI_2, "", id="version 2, in place"),
        pytest.param("", "plugins.cri", "", id="version 1, in place"),
    ],
)
def test_containerd(
    pods: Pods,
    machine: Machine,
    version: str,
    plugin: str,
    drop_in: str,
    request: pytest.FixtureRequest,
) -> None:
    folder = machine.scratch / f"cc{request.node.callspec.indices['version']}{len(drop_in)}"
    folder.mkdir()
    file = folder / "config.toml"
    opt = "opt" if plugin == "plugins.cri" else "io.containerd.internal.v1.opt"
    text = CONTAINERD.format(version=version, cri=plugin, pause=PAUSE, folder=folder)
    file.write_text(text.replace("io.containerd.internal.v1.opt", opt))
    before = configured.tree(folder)
    runtime = machine.runtime(f"configured-{folder.name}", require("runc"))
    where = (f"--config={file}", f"--drop-in-config={folder / drop_in if drop_in else ''}")
    flags = (*where, f"--nvidia-runtime-path={runtime.path}")

    configured.tell(folder, "configure", "containerd", *flags)

    with pods.daemon(file) as service:
        nodes, info = seen_in_pod(service, "nvidia")
        assert nodes == configured.SEEN
        assert info["runtimeOptions"]["binary_name"] == os.fspath(runtime.path)
        assert seen_in_pod(service, "")[0] == ""
        assert seen_by_ctr(file, service, folder) == configured.SEEN
    assert {"create", "start", "exec", "kill", "delete"} <= runtime.called()

    configured.tell(folder, "configure", "containerd", *flags, "--set-as-default")

    with pods.daemon(file) as service:
        assert seen_in_pod(service, "")[0] == configured.SEEN
        status = configured.status("containerd", CONTAINERD_ADDRESS=os.fspath(service.socket))
        assert (status["running"], status["file"], status["runtimes"], status["is_default"]) == (
            True,
            os.fspath(file),
            ["nvidia"],
            True,
        )

    configured.tell(folder, "unconfigure", "containerd", *where)

    assert configured.tree(folder) == before
    with pods.daemon(file) as service:
        assert seen_in_pod(service, "")[0] == ""
        with pytest.raises(grpc.RpcError, match='no runtime for "nvidia" is configured'):
            service.start_pod("nvidia")


def seen_by_ctr(file: Path, service: cri.Cri, folder: Path) -> str:
    """Run a container by `ctr`, with the program that containerd has for its handler nvidia."""
    dump = processes.succeed(["containerd", "--config", os.fspath(file), "config", "dump"])
    program = next(line for line in dump.splitlines() if "BinaryName" in line and "nvidia" in line)
    ctr = ("ctr", "--address", os.fspath(service.socket), "--namespace=k8s.io", "run", "--rm")
    words = (
        "--snapshotter", containerd.SNAPSHOTTER, "--cgroup", f"/{service.group}/ctr",
        "--runc-root", f"{folder}/runc", "--runc-binary", json.loads(program.partition("=")[2]),
        "--env=NVIDIA_VISIBLE_DEVICES=0", rootfs.IMAGE, "by-ctr",
    )  # fmt: skip
    return configured.lines((*ctr, *words))
