# SPDX-License-Identifier: Apache-2.0
"""The image of the trial's container, as `docker save` writes one: docker and containerd load it.

See https://github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile

from nvidia_runtime.doctor.trial import root as trial_root
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(file: str, root: str, name: str) -> None:
    """Write an image with one layer, the files of a root.

    Raises `NvidiaRuntimeError` where that cannot be written.
    """
    layer = f"{file}.layer"
    try:
        with tarfile.open(layer, "w") as tar:
            tar.add(root, arcname=".", filter=_of_root)
        with open(layer, "rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        with tarfile.open(file, "w") as tar:
            tar.add(layer, arcname="layer.tar", filter=_of_root)
            _add(tar, "config.json", _config(digest))
            manifest = {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}
            _add(tar, "manifest.json", [manifest])
        os.unlink(layer)
    except OSError as error:
        raise NvidiaRuntimeError(f"cannot be written: {os_reason(error)}", file) from None


def _config(digest: str) -> dict[str, object]:
    machine = platform.machine()
    env = [f"{name}={value}" for name, value in trial_root.ENVIRONMENT.items()]
    return {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Env": env, "Cmd": list(trial_root.WORDS)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _add(tar: tarfile.TarFile, name: str, document: object) -> None:
    data = json.dumps(document).encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
