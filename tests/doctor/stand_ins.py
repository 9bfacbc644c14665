# SPDX-License-Identifier: Apache-2.0
"""Engines on a simulated machine: stand-ins for their programs, as lines of shell.

A stand-in says which version it is, listens on a socket, and answers as it is told.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import shim
from cli import ctk

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNTIME = "/usr/bin/nvidia-container-runtime"
PROGRAMS = ("dockerd", "containerd", "crio", "podman", "k3s")
SOCKETS = {
    "dockerd": "/run/docker.sock",
    "containerd": "/run/containerd/containerd.sock",
    "crio": "/run/crio/crio.sock",
}
RUNTIMES = {"runtimes": {"nvidia": {"args": [], "path": RUNTIME}}}
V1 = "plugins.cri"
V2 = 'plugins."io.containerd.grpc.v1.cri"'
V3 = 'plugins."io.containerd.cri.v1.runtime"'
CONTAINERD, CRIO = "/etc/containerd/config.toml", "/etc/crio/crio.conf"
PODMAN, DOCKER = "/etc/containers/containers.conf", "/etc/docker/daemon.json"
FOLDERS = (
    *("/etc/stand-in", "/etc/docker", "/etc/containerd", "/etc/containers", "/etc/crio"),
    *("/etc/cdi", "/etc/kubernetes", "/var/lib/kubelet", "/usr/share/containers/oci"),
    *("/run/containerd", "/run/crio", "/var/lib/nvidia-container-runtime"),
)
KUBELET = "/var/lib/kubelet/config.yaml"


@functools.cache
def program() -> Path:
    """Compile the stand-in, or skip."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler for the stand-ins of engines")
    folder = Path(tempfile.mkdtemp(prefix="nvcr-stand-in-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    source = Path(__file__).with_name("stand_in.c")
    command = [compiler, "-Wall", "-Werror", "-O1", "-o", f"{folder}/stand-in", str(source)]
    subprocess.run(command, check=True)
    return folder / "stand-in"


def write(path: str, content: Any) -> str:
    """Return the lines that write a file."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    folder = shlex.quote(os.path.dirname(path))
    return f"mkdir -p {folder}\nprintf %s {shlex.quote(text)} >{shlex.quote(path)}"


def without(*kept: str) -> str:
    """Return the line that takes the programs of this host's engines away, all but some."""
    names = [name for name in PROGRAMS if name not in kept]
    return "rm -f " + " ".join(f"{folder}/{name}" for folder in PATH.split(":") for name in names)


def machine(*lines: str) -> str:
    """Return the lines that take this host's engines away, install ours, and what follows."""
    ctk_script = f'#!/bin/sh\nexec {sys.executable} -c "{ctk.PROGRAM}" "$@"\n'
    bin_folder = shim.TREE / "packaging/bin"
    return "\n".join(
        [
            without(),
            f"mkdir -p {' '.join(FOLDERS)}",
            f"find {' '.join(FOLDERS)} -mindepth 1 -delete",  # some are mount points
            f"ln -sf {bin_folder}/nvidia-container-runtime {RUNTIME}",
            f"ln -sf {bin_folder}/nvidia-container-runtime {RUNTIME}-hook",
            write("/usr/bin/nvidia-ctk", ctk_script),
            "chmod 755 /usr/bin/nvidia-ctk",
            *lines,
        ]
    )


def installed(name: str, version: str) -> str:
    """Return the lines that install an engine."""
    return "\n".join(
        [
            f"cp {program()} /usr/sbin/{name}",
            write(f"/etc/stand-in/{name}.version", version),
            write(f"/etc/stand-in/{name}.socket", SOCKETS.get(name, "")),
        ]
    )


def running(name: str, version: str, words: str = "", before: str = "") -> str:
    """Return the lines that install an engine and start it, with words."""
    return f"{installed(name, version)}\n{before} /usr/sbin/{name} {words or '--run'}"


def info(**changes: Any) -> dict[str, Any]:
    """Return what a docker says that knows our runtime."""
    document = {
        "Runtimes": {"nvidia": {"path": RUNTIME}, "runc": {"path": "runc"}},
        "DefaultRuntime": "runc",
        "CgroupDriver": "cgroupfs",
    }
    return {**document, **changes}


def docker(
    *before: str,
    version: str = "27.5.1",
    file: Any = None,
    answer: Any = None,
    words: str = "",
    variables: str = "",
) -> str:
    """Return the lines of a docker that is configured and runs; ``before`` come before it."""
    return "\n".join(
        [
            write(DOCKER, RUNTIMES if file is None else file),
            write("/etc/stand-in/dockerd.answer", info() if answer is None else answer),
            *before,
            running("dockerd", version, words, variables),
        ]
    )


def toml(cri: str, *, version: int, systemd: str = "false", extra: str = "") -> str:
    """Return a config.toml of containerd with runc and our runtime."""
    head = f"version = {version}\n" if version > 1 else ""
    tables = [
        f'[{cri}.containerd.runtimes.{name}]\nruntime_type = "io.containerd.runc.v2"\n'
        f"[{cri}.containerd.runtimes.{name}.options]\n{option}SystemdCgroup = {systemd}\n"
        for name, option in (("runc", ""), ("nvidia", f'BinaryName = "{RUNTIME}"\n'))
    ]
    return f"{head}{extra}{''.join(tables)}"


def containerd(*before: str, version: str = "1.7.24", file: str | None = None) -> str:
    """Return the lines of a containerd that a kubelet uses."""
    text = toml(V2, version=2) if file is None else file
    return "\n".join(
        [
            write(CONTAINERD, text),
            write(KUBELET, "cgroupDriver: cgroupfs\n"),
            *before,
            running("containerd", version),
        ]
    )


CRIO_FILE = f"""
[crio.runtime]
cgroup_manager = "cgroupfs"
[crio.runtime.runtimes.nvidia]
runtime_path = "{RUNTIME}"
"""
PODMAN_FILE = f'[engine]\ncgroup_manager = "cgroupfs"\n[engine.runtimes]\nnvidia = ["{RUNTIME}"]\n'


def crio(*before: str, file: str = CRIO_FILE) -> str:
    """Return the lines of a cri-o."""
    return "\n".join([write(CRIO, file), *before, running("crio", "1.30.2")])


def podman(*before: str, file: str = PODMAN_FILE, version: str = "5.4.2") -> str:
    """Return the lines of a podman."""
    return "\n".join([write(PODMAN, file), *before, installed("podman", version)])


def spec(path: str) -> str:
    """Return the lines that write a CDI spec of a GPU."""
    device = {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidiactl"}]}}
    document = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [device]}
    return write(path, document)
