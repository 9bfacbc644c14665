# SPDX-License-Identifier: Apache-2.0
"""What is docker's own: --gpus, Docker Desktop, and limits that containers inherit."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines.presence import restarting
from nvidia_runtime.doctor.finding import NOTE, WARNING, Code, Finding, Fine
from nvidia_runtime.engines import docker_gpus, home
from nvidia_runtime.hooks import prestart
from nvidia_runtime.host import platform
from nvidia_runtime.store.snapshot import MODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

DESKTOP_CONTEXT = "desktop-linux"
LARGEST = 1 << 20
LEGACY, AUTO = "legacy", "auto"

GPUS = Code(
    "NCT-0430",
    WARNING,
    "'docker run --gpus' finds nothing",
    """
    docker looks for nvidia-container-runtime-hook in the PATH of dockerd when that starts.  Without
    it: "could not select device driver "" with capabilities: [[gpu]]".  docker 29 takes
    nvidia-cdi-hook and a CDI spec as well; without both it says the same, or "failed to discover
    GPU vendor from CDI: no known GPU vendor found".  Containers that ask in other ways (-e
    NVIDIA_VISIBLE_DEVICES=all with our runtime, --device nvidia.com/gpu=all) get their GPUs.
    """,
    """
    Make a link to the hook in a folder of dockerd's PATH, and restart docker.  Where runc is the
    default runtime, --runtime=nvidia belongs beside --gpus: 'docker run --runtime=nvidia --gpus
    all'.
    """,
)
DESKTOP = Code(
    "NCT-0431",
    WARNING,
    "docker's client talks to Docker Desktop",
    """
    The context of 'docker' is Docker Desktop's, which on Linux runs containers in a virtual machine
    of its own: it has no GPU there, whatever the machine's own dockerd is told.
    """,
    """
    'docker context use default' turns back to the dockerd of this machine, as does
    DOCKER_HOST=unix:///var/run/docker.sock for one call.
    """,
)
NEEDS_RUNTIME = Code(
    "NCT-0432",
    NOTE,
    "'docker run --gpus' needs --runtime beside it",
    """
    runc is docker's default runtime.  'docker run --gpus all' alone then comes to the prestart
    hook, which is legacy mode's and refuses where config.toml sets another mode: "invoking the
    NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) is not
    supported".
    """,
    """
    'docker run --runtime=nvidia --gpus all', or our runtime as the default: 'nvidia-ctk runtime
    configure --runtime=docker --set-as-default' and a restart; then --gpus all is enough.  With
    the mode auto, which is the default, the hook gives the GPUs itself.
    """,
)
CODES = (GPUS, DESKTOP, NEEDS_RUNTIME)


def check(facts: Facts, subject: Subject) -> Iterator[Said]:
    """Look at docker."""
    yield from _desktop()
    if facts.programs and facts.is_seen:
        yield from _gpus(facts, subject)


def _refuses(subject: Subject) -> bool:
    """Whether the prestart hook refuses by the settings what it is called for."""
    mode = subject.settings[MODE]
    is_its = mode == LEGACY or (mode == AUTO and subject.mode != platform.CSV)
    return not is_its and not subject.settings[prestart.SKIP_MODE]


def _gpus(facts: Facts, subject: Subject) -> Iterator[Said]:
    version, search = facts.daemon.version, facts.search
    if docker_gpus.is_known(version, search, has_spec=facts.has_spec):
        name = next(iter(facts.programs))
        is_default = facts.default in facts.programs
        named = "" if is_default else f" --runtime={name}"
        usage = f"containers of docker get GPUs by 'docker run{named} --gpus all'"
        yield Fine(usage)
        by_hook = docker_gpus.goes_by_hook(version, search, has_spec=facts.has_spec)
        if by_hook and not is_default and _refuses(subject):
            yield Finding(
                code=NEEDS_RUNTIME,
                what=usage,
                where=facts.daemon.config,
                command="nvidia-ctk runtime configure --runtime=docker --set-as-default",
                engine="docker",
            )
        return
    hook = os.path.join(os.path.dirname(os.path.realpath(subject.program)), docker_gpus.HOOK)
    link = f"ln -s {hook} /usr/local/bin/" if "/usr/local/bin" in search.split(":") else ""
    commands = (link if os.path.exists(hook) else "", restarting(facts.daemon))
    yield Finding(
        code=GPUS,
        what=f"{docker_gpus.HOOK} is in no folder of dockerd's PATH ({search})",
        where=search,
        command=" && ".join(filter(None, commands)),
        engine="docker",
    )


def _desktop() -> Iterator[Said]:
    """Look at the context of our own user's client."""
    if os.environ.get("DOCKER_HOST") or platform.is_wsl(""):
        return
    folder = os.environ.get("DOCKER_CONFIG") or f"{home.folder()}/.docker"
    path = os.path.join(folder, "config.json")
    context = os.environ.get("DOCKER_CONTEXT") or _context(path)
    if context == DESKTOP_CONTEXT:
        yield Finding(
            code=DESKTOP,
            what=f"the context of docker is {context}",
            where=path,
            command="docker context use default",
            engine="docker",
        )


def _context(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(document.get("currentContext", "")) if isinstance(document, dict) else ""
