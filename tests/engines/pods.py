# SPDX-License-Identifier: Apache-2.0
"""containerd as a kubelet uses it: config.toml of each version, images, and the CRI service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import containerd, cri, processes, rootfs

PAUSE = "nvcr.test/pause:latest"
PLUGINS = {
    1: "plugins.cri",
    2: 'plugins."io.containerd.grpc.v1.cri"',
    3: 'plugins."io.containerd.cri.v1.runtime"',
}
ELSEWHERE = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
# What an administrator has: settings of his own, which the container needs, and comments.
BEFORE_3 = """\
# of this host
{version}disabled_plugins = {disabled} # they write elsewhere

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
SINCE_3 = """\
# of this host
{version}disabled_plugins = {disabled} # they write elsewhere

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}" # no registry here

[{cri}]
  restrict_oom_score_adj = true
  [{cri}.cni]
    bin_dirs = ["{folder}/cni"]
    conf_dir = "{folder}/cni"
  [{cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
# A file without a version, as a package of docker's has it, beside the administrator's own.
SILENT = """\
# of the package
imports = ["{folder}/host.toml"]
"""


def text(folder: Path, version: int) -> str:
    """Return a config.toml of a version, with its state beside it."""
    return (BEFORE_3 if version < 3 else SINCE_3).format(
        version="" if version == 1 else f"version = {version}\n",
        disabled=json.dumps(["opt"] if version == 1 else ELSEWHERE),
        cri=PLUGINS[version],
        pause=PAUSE,
        folder=folder,
    )


def add(file: Path, program: Path, specs: Sequence[Path], *, is_on: bool) -> None:
    """Add the handler nvidia to a config.toml, and the folders of CDI specs; switch CDI on."""
    before = file.read_text()
    cri = PLUGINS[3 if "\nversion = 3\n" in before else 2]
    handler = f"{cri}.containerd.runtimes.nvidia"
    folders = json.dumps([*map(os.fspath, specs)])
    switch = f"cdi_spec_dirs = {folders}\n" + "enable_cdi = true\n" * is_on
    after = before.replace(f"\n[{cri}]\n", f"\n[{cri}]\n{switch}")
    assert after != before
    file.write_text(
        f'{after}\n[{handler}]\nruntime_type = "io.containerd.runc.v2"\n'
        f"[{handler}.options]\nBinaryName = {json.dumps(os.fspath(program))}\n"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """containerd as a kubelet uses it; ``enter`` are the words of the machine that it runs on."""

    group: str
    env: dict[str, str]
    images: tuple[Path, ...]
    enter: tuple[str, ...] = ()

    @contextmanager
    def daemon(self, file: Path) -> Iterator[cri.Cri]:
        """Keep containerd running on a file, with the images."""
        with containerd.daemon_on(file, env=self.env, enter=self.enter) as socket:
            ctr = ["ctr", "--address", os.fspath(socket), "--namespace=k8s.io"]
            for image in self.images:
                processes.succeed([*ctr, *containerd.importing(), os.fspath(image)])
            logs = file.parent / "logs"
            yield cri.Cri(socket=socket, image=rootfs.IMAGE, group=self.group, logs=logs)
