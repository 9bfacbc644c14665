# SPDX-License-Identifier: Apache-2.0
"""The container image: busybox, as a folder and as an archive that docker and containerd load."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from pathlib import Path

IMAGE = "docker.io/library/nvcr-busybox:latest"
APPLETS = ("cat", "env", "find", "mknod", "sed", "sh", "sleep", "stat", "test", "touch", "true")
FOLDERS = ("bin", "dev", "etc", "proc", "sys", "tmp")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build(root: Path, busybox: str) -> None:
    """Make a root file system out of a static busybox."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    shutil.copy2(busybox, root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")


def archive(
    root: Path,
    file: Path,
    *,
    name: str = IMAGE,
    command: tuple[str, ...] = (),
    env: tuple[str, ...] = (),
) -> None:
    """Pack a root file system in the format of `docker save`, with what it runs unless told."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(root, arcname=".")
    machine = platform.machine()
    config = {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": list(command), "Env": list(env)} if command or env else {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"],
        },
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(file, mode="w") as tar:
        add(tar, "layer.tar", layer.getvalue())
        add(tar, "config.json", json.dumps(config).encode())
        add(tar, "manifest.json", json.dumps(manifest).encode())


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Write one member of an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
