# SPDX-License-Identifier: Apache-2.0
"""How engines are installed, as a table: by what a process is known, its files, how it restarts.

The first profile of an engine is the distribution's own.  Ring: elsewhere.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

K3S = "{0} finds nvidia-container-runtime itself when it starts; there is nothing to configure"
K3S_HINT = (
    "restart {0} after the runtime was installed, and give pods runtimeClassName: nvidia; "
    "--default-runtime=nvidia of {0} makes it the default"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A way in which an engine is installed; paths may begin with a variable of the user's.

    ``marks`` is looked for in the path of the running executable and in its arguments.
    ``template`` is what the engine makes its configuration from, ``drop_in`` a file that it reads
    without an import in the configuration, ``{version}`` in both that of a containerd 2 file.
    ``advice`` says why there is nothing to do, ``note`` what else to know.
    """

    engine: str
    name: str = ""
    marks: str = ""
    is_rootless: bool = False
    programs: tuple[str, ...] = ()
    config: str = ""
    template: str = ""
    drop_in: str = ""
    sockets: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    restart: tuple[str, ...] = ("systemctl", "restart")
    advice: str = ""
    note: str = ""


def _rancher(name: str, *units: str) -> Profile:
    folder = f"/var/lib/rancher/{name}/agent/etc/containerd"
    return Profile(
        engine="containerd",
        name=name,
        marks=rf"/{name}/(data|agent)/",
        config=f"{folder}/config.toml",
        template=f"{folder}/config{{version}}.toml.tmpl",
        sockets=("/run/k3s/containerd/containerd.sock",),
        units=units,
        advice=K3S.format(name),
        note=K3S_HINT.format(name),
    )


PROFILES = (
    Profile(
        engine="docker",
        programs=("dockerd",),
        config="/etc/docker/daemon.json",
        sockets=("/run/docker.sock", "/var/run/docker.sock"),
        units=("docker",),
    ),
    Profile(
        engine="docker",
        name="snap-docker",
        marks="/snap/docker/",
        config="/var/snap/docker/current/config/daemon.json",
        sockets=("/run/docker.sock", "/var/run/docker.sock"),
        units=("docker.dockerd",),
        restart=("snap", "restart"),
        note="the docker of the snap runs no program outside of snaps: the runtime's files must "
        "be in /var/snap/docker/common, and --nvidia-runtime-path must name them there",
    ),
    Profile(
        engine="docker",
        name="rootless-docker",
        is_rootless=True,
        config="$XDG_CONFIG_HOME/docker/daemon.json",
        sockets=("$XDG_RUNTIME_DIR/docker.sock",),
        units=("docker",),
        restart=("systemctl", "--user", "restart"),
    ),
    Profile(
        engine="containerd",
        programs=("containerd",),
        config="/etc/containerd/config.toml",
        sockets=("/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock"),
        units=("containerd",),
    ),
    _rancher("k3s", "k3s", "k3s-agent"),
    _rancher("rke2", "rke2-server", "rke2-agent"),
    Profile(
        engine="containerd",
        name="k0s",
        marks=r"/k0s/(bin|run|containerd)/|/run/k0s/",
        config="/etc/k0s/containerd.toml",
        drop_in="/etc/k0s/containerd.d/nvidia.toml",
        sockets=("/run/k0s/containerd.sock", "/var/lib/k0s/run/containerd.sock"),
        units=("k0scontroller", "k0sworker"),
    ),
    Profile(
        engine="containerd",
        name="microk8s",
        marks=r"/snap/microk8s/",
        config="/var/snap/microk8s/current/args/containerd.toml",
        template="/var/snap/microk8s/current/args/containerd-template.toml",
        sockets=("/var/snap/microk8s/common/run/containerd.sock",),
        units=("microk8s.daemon-containerd",),
        restart=("snap", "restart"),
    ),
    Profile(
        engine="crio",
        programs=("crio",),
        config="/etc/crio/crio.conf",
        sockets=("/run/crio/crio.sock", "/var/run/crio/crio.sock"),
        units=("crio", "cri-o"),
    ),
    Profile(
        engine="podman",
        programs=("podman",),
        config="/etc/containers/containers.conf",
    ),
    Profile(
        engine="podman",
        name="rootless-podman",
        is_rootless=True,
        config="$XDG_CONFIG_HOME/containers/containers.conf",
    ),
)
ENGINES = tuple(dict.fromkeys(profile.engine for profile in PROFILES))


def of(engine: str) -> list[Profile]:
    """List the profiles of an engine, the distribution's own first."""
    return [profile for profile in PROFILES if profile.engine == engine]


def named(engine: str, name: str) -> Profile:
    """Return the profile of a name, "" being the distribution's own."""
    return next(profile for profile in of(engine) if profile.name == name)


def recognise(engine: str, words: list[str], *, is_rootless: bool) -> Profile:
    """Tell how an engine is installed from its executable's path and its arguments."""
    known = of(engine)
    for profile in known:
        if profile.marks and any(re.search(profile.marks, word) for word in words):
            return profile
    for profile in known:
        if profile.is_rootless and is_rootless:
            return profile
    return known[0]


def expanded(path: str) -> str:
    """Put the user's own folders into a path of the table."""
    home = os.path.expanduser("~")
    folders = {
        "$XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config",
        "$XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}",
    }
    for variable, folder in folders.items():
        if path.startswith(variable):
            return folder + path.removeprefix(variable)
    return path
