# SPDX-License-Identifier: Apache-2.0
"""Which engines are here, which of them run, and which are to give containers their GPUs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import (
    ERROR,
    NOTE,
    WARNING,
    Code,
    Finding,
    Fine,
    Skipped,
    Step,
)
from nvidia_runtime.engines import (
    containerd,
    docker,
    docker_info,
    effect,
    processes,
    restart,
    running,
    supported,
    units,
)
from nvidia_runtime.engines.running import Running
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said

SECONDS = 1.0  # which a socket without a process has to answer
# What a kubelet has; k3s and its like have an engine of their own.
KUBELET = ("/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf")

NO_ENGINE = Code(
    "NCT-0401",
    ERROR,
    "there is no container engine",
    """
    Neither docker, containerd, cri-o nor podman runs or is installed: no socket of theirs is
    listened on, and their programs are not in PATH.
    """,
    """
    Install one, such as docker.io, podman or containerd, and run 'nvidia-ctk runtime configure
    --runtime=ENGINE'.  A daemon on another socket is found by DOCKER_HOST=unix:///PATH or
    CONTAINERD_ADDRESS.  If this is a container, run doctor on the machine itself.
    """,
)
NOT_RUNNING = Code(
    "NCT-0402",
    ERROR,
    "an engine does not run",
    """
    The engine is installed, but no process listens on its sockets: "Cannot connect to the Docker
    daemon at unix:///var/run/docker.sock. Is the docker daemon running?"  It was not started, or
    its configuration keeps it from starting.
    """,
    """
    Start it; where it ends again, 'journalctl -u ENGINE' says why, and often another finding here
    does.  This is a warning where another engine runs.
    """,
)
TOO_OLD = Code(
    "NCT-0403",
    WARNING,
    "an engine is older than those that are supported",
    "It does not read all that 'nvidia-ctk runtime configure' writes, and has no CDI.",
    "Upgrade the engine; the oldest with which all this is tried are those of Debian 12.",
)
SEVERAL = Code(
    "NCT-0405",
    NOTE,
    "an engine runs more than once",
    """
    Two daemons of one engine run, such as docker's own and a user's (rootless), or a distribution's
    containerd beside that of k3s.  Each reads files of its own, so that a change for one is none
    for the other.
    """,
    """
    'nvidia-ctk runtime configure' changes the files of the one that is named first, your own before
    others; --config names the file of another.  DOCKER_HOST and CONTAINERD_ADDRESS choose by the
    socket.
    """,
)
CODES = (NO_ENGINE, NOT_RUNNING, TOO_OLD, SEVERAL)


def has_kubelet() -> bool:
    """Whether this machine is a node of kubernetes that was set up with a kubelet of its own."""
    return any(map(os.path.exists, KUBELET))


def find(listed: list[Running]) -> Iterator[Said]:
    """Fill a list with the engines to judge, and say what is wrong with those that are not."""
    present: list[Running] = []
    for name in supported.NAMES:
        yield Step(f"{name}: its processes and its version")
        present += running.all_of(supported.ENGINES[name])
    if proxy := _without_process(present):
        present.insert(0, proxy)
    if not present:
        what = f"none of {', '.join(supported.NAMES)} runs, or is installed"
        yield Finding(code=NO_ENGINE, what=what)
        return
    live = [
        daemon
        for daemon in present
        if daemon.pid or daemon.elsewhere or not daemon.engine.has_daemon
    ]
    for daemon in present:
        if _serves_docker(daemon, present):
            yield Fine("containerd is docker's")
        elif daemon not in live:
            yield from _idle(daemon, live, listed)
        elif daemon.elsewhere and daemon.engine.name != "docker":
            yield Skipped(f"{daemon.engine.name} (pid {daemon.pid})", daemon.elsewhere)
        else:
            listed.append(daemon)
            yield from _too_old(daemon)
    yield from _several(listed)


def _without_process(present: list[Running]) -> Running | None:
    """Return a docker that answers without a process here, as Docker Desktop's in WSL does."""
    if any(daemon.engine is docker.ENGINE and daemon.pid for daemon in present):
        return None
    for socket in running.sockets(docker.ENGINE):
        if not os.path.exists(socket):
            continue
        try:
            answer = docker_info.asked(socket, "/info", SECONDS)
        except (OSError, ValueError):
            continue
        if not isinstance(answer, dict) or processes.named(docker.ENGINE.program):
            continue
        return Running(
            engine=docker.ENGINE,
            profile=docker.PROFILES[0],
            pid=0,
            executable="",
            version=(),
            config="",
            socket=socket,
            elsewhere=f"what answers on {socket} is no process of this machine",
        )
    return None


def _serves_docker(daemon: Running, present: list[Running]) -> bool:
    """Whether a containerd is there for docker, and nobody asked it for GPUs."""
    if daemon.engine is not containerd.ENGINE or daemon.profile.name or has_kubelet():
        return False
    if not any(other.engine.name == "docker" for other in present):
        return False
    if daemon.elsewhere:
        return True
    try:
        return not effect.summary(daemon.engine, daemon.config, daemon.version).runtimes
    except NvidiaRuntimeError:
        return True


def _idle(daemon: Running, live: list[Running], listed: list[Running]) -> Iterator[Said]:
    """Say that an engine does not run: it is judged only where no other does."""
    name, unit = daemon.engine.name, daemon.profile.units[0]
    if pids := processes.named(daemon.engine.program):
        variable = daemon.engine.socket_variable
        named = f"; {variable}=unix:///PATH names its own" if variable else ""
        why = f"it listens on none of {', '.join(running.sockets(daemon.engine))}{named}"
        yield Skipped(f"{name} (pid {pids[0]})", why)
        return
    command = " ".join([*daemon.profile.restart, unit])
    what = f"{daemon.executable or daemon.config} is here, but no {daemon.engine.program} runs"
    if not live:
        listed.append(daemon)
        yield Finding(code=NOT_RUNNING, what=what, command=command, engine=name)
    elif units.is_wanted(unit):
        yield Finding(code=NOT_RUNNING, what=what, command=command, engine=name, severity=WARNING)
    else:
        yield Fine(f"{name} is installed, and nobody starts it")


def _too_old(daemon: Running) -> Iterator[Said]:
    oldest = daemon.engine.oldest
    if daemon.version and daemon.version < oldest:
        versions = [".".join(map(str, version)) for version in (daemon.version, oldest)]
        what = f"{daemon.engine.name} is of version {versions[0]}, older than {versions[1]}"
        yield Finding(code=TOO_OLD, what=what, engine=daemon.engine.name)


def _several(listed: list[Running]) -> Iterator[Said]:
    for name in dict.fromkeys(daemon.engine.name for daemon in listed):
        same = [daemon for daemon in listed if daemon.engine.name == name]
        if len(same) > 1:
            files = [f"pid {daemon.pid} on {daemon.config}" for daemon in same]
            yield Finding(code=SEVERAL, what=f"{name} runs as {' and '.join(files)}", engine=name)


def restarting(daemon: Running) -> str:
    """Return the command that restarts a daemon, "" where there is none."""
    return " ".join(restart.command(daemon)) if daemon.pid else ""
