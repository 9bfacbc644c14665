# SPDX-License-Identifier: Apache-2.0
"""containerd, started on the files that `nvidia-ctk runtime configure` writes, as a kubelet uses it.

The story is that of `test_configured`, told by pods; and `ctr` runs the program that was configured.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.engines import containerd_files, difference

from . import configured, containerd, cri, installed, processes, rootfs
from . import pods as containerd_of_pods
from .installed import require
from .machine import Machine
from .pods import Pods


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


DROP_IN = "conf.d/99-nvidia.toml"
# The version of config.toml, the drop-in, and the versions of containerd that heed such a file: from
# one on, and before another.  Version 0 is a file that is silent of it, and of all that we change.
FILES = [
    pytest.param(1, "", (1,), (2,), id="version 1, in place"),
    pytest.param(2, DROP_IN, (1,), (3,), id="version 2, drop-in"),
    pytest.param(2, "", (1,), (3,), id="version 2, in place"),
    pytest.param(3, DROP_IN, (2,), (3,), id="version 3, drop-in"),
    pytest.param(3, "", (2,), (3,), id="version 3, in place"),
    pytest.param(0, DROP_IN, (2,), (3,), id="no version, drop-in"),
]


@pytest.mark.parametrize(("version", "drop_in", "since", "before"), FILES)
def test_containerd(
    pods: Pods,
    machine: Machine,
    version: int,
    drop_in: str,
    since: tuple[int, ...],
    before: tuple[int, ...],
) -> None:
    engine = installed.version_of("containerd")
    if not since <= engine < before:
        pytest.skip(f"containerd {engine[0]} does not heed such a file")
    folder = machine.scratch / f"cc{version}{len(drop_in)}"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(containerd_of_pods.text(folder, version or 3))
    if not version:
        file.rename(folder / "host.toml")
        file.write_text(containerd_of_pods.SILENT.format(folder=folder))
    as_it_was = configured.tree(folder)
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

    assert configured.tree(folder) == as_it_was
    with pods.daemon(file) as service:
        assert seen_in_pod(service, "")[0] == ""
        with pytest.raises(cri.refused(), match='no runtime for "nvidia" is configured'):
            service.start_pod("nvidia")


def seen_by_ctr(file: Path, service: cri.Cri, folder: Path) -> str:
    """Run a container by `ctr`, with the program that containerd has for its handler nvidia."""
    dump = processes.succeed(["containerd", "--config", os.fspath(file), "config", "dump"])
    document = tomllib.loads(dump)
    place = (*containerd_files.places_in(document, "").runtimes, "nvidia", "options", "BinaryName")
    program = difference.at(document, place)
    ctr = ("ctr", "--address", os.fspath(service.socket), "--namespace=k8s.io", "run", "--rm")
    words = (
        "--snapshotter", containerd.SNAPSHOTTER, "--cgroup", f"/{service.group}/ctr",
        "--runc-root", f"{folder}/runc", "--runc-binary", program,
        "--env=NVIDIA_VISIBLE_DEVICES=0", rootfs.IMAGE, "by-ctr",
    )  # fmt: skip
    return configured.lines((*ctr, *words))
