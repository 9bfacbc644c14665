# SPDX-License-Identifier: Apache-2.0
"""How each engine starts the trial's container: as a user would ask it for all GPUs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvidia_runtime.cdi import registry
from nvidia_runtime.doctor.trial import root
from nvidia_runtime.doctor.trial import run as trial_run
from nvidia_runtime.doctor.trial.run import Ended
from nvidia_runtime.engines import docker_gpus, effect, processes, runtimes
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError

if TYPE_CHECKING:
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.doctor.trial.run import Bench
    from nvidia_runtime.engines.running import Running

DEVICE = "nvidia.com/gpu=all"
PLAIN_NAME = "nvidia"
# podman's own option, which stands before the command.
OWN = "--runtime="
ASKING = tuple(word for name, value in root.ASKED.items() for word in ("--env", f"{name}={value}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of asking: what a user would type, and what starts and removes such a container."""

    label: str
    run: Callable[[], Ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is tried with an engine.

    ``load`` gives it the image; ``control`` starts a container that asks for nothing.  ``begin``
    starts the engine where it does not run, ``configure`` gives it a way where it has none.
    """

    engine: str
    ways: list[Way]
    control: Way
    load: Callable[[], Ended] | None = None
    unload: Callable[[], None] | None = None
    begin: str = ""
    configure: str = ""


def docker(subject: Subject, running: Running, bench: Bench) -> Plan:
    """Return what is tried with docker: our runtime, its option --gpus, CDI.

    Raises `NvidiaRuntimeError` where the daemon does not answer.
    """
    client = [_program("docker"), "--host", f"unix://{running.socket}"]
    knowledge = running.engine.ask(running.socket)
    if knowledge is None:
        raise NvidiaRuntimeError("the daemon does not answer", running.socket)
    ours = {name for name, path in knowledge.programs.items() if runtimes.is_ours(path)}
    asked: list[list[str]] = []
    named: list[str] = []
    if ours:
        named = [] if knowledge.default in ours else [f"--runtime={_chosen(ours)}"]
        asked.append([*named, *ASKING])
    if shutil.which(docker_gpus.HOOK, path=processes.search_path(running.pid)):
        asked.append([*named, "--gpus", "all"])
    if knowledge.cdi and _has_device(subject):
        asked.append(["--device", DEVICE])

    def run(words: list[str]) -> Ended:
        name = bench.name()
        start = [*client, "run", "--rm", "--name", name, "--network", "none", *words]
        start += [bench.image, *root.WORDS]
        return _run(bench, start, [*client, "rm", "--force", name])

    def load() -> Ended:
        words = [*client, "load", "--input", bench.archive()]
        return trial_run.call(words, bench.seconds(trial_run.FOR_IMAGE))

    return Plan(
        engine="docker",
        ways=_ways("docker", asked, run),
        control=Way(label="docker run", run=lambda: run([])),
        load=load,
        unload=lambda: bench.remove([*client, "rmi", "--force", bench.image]),
        configure="nvidia-ctk runtime configure --runtime=docker --restart=systemd",
    )


def podman(subject: Subject, running: Running, bench: Bench) -> Plan:
    """Return what is tried with podman: CDI, and our runtime where its files name it."""
    program = running.executable or _program("podman")
    summary = effect.summary(running.engine, running.config, running.version)
    asked: list[list[str]] = []
    if _has_device(subject):
        asked.append(["--device", DEVICE])
    if summary.runtimes:
        named = [] if summary.is_default else [f"--runtime={_chosen({*summary.runtimes})}"]
        asked.append([*named, *ASKING])
    env = {**os.environ, "PODMAN_IGNORE_CGROUPSV1_WARNING": "yes"}

    def run(words: list[str]) -> Ended:
        name = bench.name()
        own = [word for word in words if word.startswith(OWN)]
        words = [word for word in words if word not in own]
        variables = [
            word for key, value in root.ENVIRONMENT.items() for word in ("--env", f"{key}={value}")
        ]
        start = [program, *own, "run", "--rm", "--name", name, "--network", "none", *variables]
        start += [*words, "--rootfs", bench.root(name), *root.WORDS]
        # It would wait for ten seconds until it kills, and has an option for that since 4.0 only.
        killing = [program, "kill", "--signal", "KILL", name]
        return _run(bench, start, [program, "rm", "--force", name], env, killing)

    return Plan(
        engine="podman",
        ways=_ways("podman", asked, run),
        control=Way(label="podman run", run=lambda: run([])),
        configure="nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    )


def containerd(subject: Subject, running: Running, bench: Bench) -> Plan:
    """Return what is tried with containerd: our runtime below its shim, as pods have it."""
    namespace = f"{trial_run.NAME}-{os.getpid()}"
    client = [_program("ctr"), "--address", running.socket, "--connect-timeout", "3s"]
    client += ["--namespace", namespace]
    ours = _configured(running) or own_runtime(subject)
    asked = [["--runc-binary", ours, *ASKING]] if ours else []

    def run(words: list[str]) -> Ended:
        name = bench.name()
        # Else ctr makes a control group for the namespace, which nobody removes.
        start = [*client, "run", "--rm", "--cgroup", f"/{name}", *words]
        start += [bench.image, name, *root.WORDS]
        killing = [*client, "tasks", "delete", "--force", name]
        return _run(bench, start, [*client, "containers", "delete", name], killing=killing)

    def load() -> Ended:
        local = ["--local"] if running.version >= (2,) else []
        words = [*client, "images", "import", *local, bench.archive()]
        return trial_run.call(words, bench.seconds(trial_run.FOR_IMAGE))

    def unload() -> None:
        bench.remove([*client, "images", "delete", "--sync", bench.image])
        bench.remove([*client, "namespaces", "remove", namespace])

    return Plan(
        engine="containerd",
        ways=_ways("ctr", asked, run),
        control=Way(label="ctr run", run=lambda: run([])),
        load=load,
        unload=unload,
        configure="nvidia-ctk runtime configure --runtime=containerd --restart=systemd",
    )


def own_runtime(subject: Subject) -> str:
    """Return the path of our runtime, "" where it is not installed."""
    beside = os.path.join(os.path.dirname(os.path.realpath(subject.program)), runtimes.PROGRAM)
    own = shutil.which(runtimes.PROGRAM)
    return own or (beside if os.access(beside, os.X_OK) else "")


def _configured(running: Running) -> str:
    """Return our runtime's program as an engine's files name it, "" where they do not."""
    try:
        layers = running.engine.layers(running.config, View())
        document = running.engine.combined(layers, running.version)
        places = running.engine.places_in(document, running.config)
    except NvidiaRuntimeError:  # told by the area of engines
        return ""
    programs = runtimes.programs(document, places)
    path = programs[_chosen({*programs})] if programs else ""
    return path if path.startswith("/") else shutil.which(path) or ""


def _ways(client: str, asked: list[list[str]], run: Callable[[list[str]], Ended]) -> list[Way]:
    return [Way(label=_label(client, words), run=_bound(run, words)) for words in asked]


def _bound(run: Callable[[list[str]], Ended], words: list[str]) -> Callable[[], Ended]:
    return lambda: run(words)


def _label(client: str, words: list[str]) -> str:
    """Return what a user would type, without what goes without saying."""
    short = ["-e" if word == "--env" and client != "ctr" else word for word in words]
    short = [word for word in short if not word.startswith("NVIDIA_DRIVER_CAPABILITIES=")]
    short = short[:-1] if short[-1] in ("-e", "--env") else short
    if client == "podman" and short[0].startswith(OWN):
        return " ".join([client, short[0], "run", *short[1:]])
    return " ".join([client, "run", *short])


def _run(
    bench: Bench,
    words: list[str],
    removal: list[str],
    env: dict[str, str] | None = None,
    killing: list[str] | None = None,
) -> Ended:
    """Run a container to its end; whatever happens it is removed, and killed before."""
    is_over = False
    try:
        ended = trial_run.call(words, bench.seconds(trial_run.FOR_CONTAINER), env=env)
        is_over = ended.code == 0 and not ended.is_late
        return ended
    finally:
        if not is_over:
            bench.remove(removal, env, killing)


def _chosen(names: set[str]) -> str:
    return PLAIN_NAME if PLAIN_NAME in names else min(names)


def _has_device(subject: Subject) -> bool:
    return DEVICE in registry.read(subject.spec_dirs).devices


def _program(name: str) -> str:
    """Return the path of a client.  Raises `NvidiaRuntimeError` where there is none."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{processes.FOLDERS}")
    if not path:
        raise NvidiaRuntimeError(f"there is no program {name!r}")
    return path
