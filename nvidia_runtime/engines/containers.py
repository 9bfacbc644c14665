# SPDX-License-Identifier: Apache-2.0
"""What engines know of their containers: names, image, and whether they run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from nvidia_runtime.engines import docker, docker_info, home, running
from nvidia_runtime.engines.engine import expanded
from nvidia_runtime.oci.lifecycle import RUNNING, STOPPED

# Of the Engine API; the others, such as created and exited, have no process.
ALIVE = ("running", "paused", "restarting")
DATA_ROOTS = ("/var/lib/docker", "/var/snap/docker/common/var-lib-docker")
STORAGE = "containers.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as its engine knows it; ``state`` is "" where that is not known."""

    id: str
    name: str
    image: str = ""
    state: str = ""


def of_docker() -> dict[str, Container] | None:
    """Return the containers of the daemons that answer, by id; None where none does."""
    answers = [
        docker_info.get(path, "/containers/json?all=1") for path in running.sockets(docker.ENGINE)
    ]
    lists = [answer for answer in answers if isinstance(answer, list)]
    if not lists:
        return None
    containers = [
        _of_api(entry) for entries in lists for entry in entries if isinstance(entry, dict)
    ]
    return {container.id: container for container in containers if container.id}


def _of_api(entry: dict[str, Any]) -> Container:
    # A name with another slash is a link's.
    names = [str(name)[1:] for name in entry.get("Names") or ()]
    return Container(
        id=str(entry.get("Id", "")),
        name=next((name for name in names if "/" not in name), ""),
        image=str(entry.get("Image", "")),
        state=RUNNING if entry.get("State") in ALIVE else STOPPED,
    )


def in_docker_folder(container: str) -> Container | None:
    """Return a container by dockerd's own files, which root reads where no daemon answers.

    They may be older than what happened without the daemon, so they do not tell the state.
    """
    for folder in _data_roots():
        document = _read(os.path.join(folder, "containers", container, "config.v2.json"))
        if isinstance(document, dict):
            config = document.get("Config")
            image = config.get("Image", "") if isinstance(config, dict) else ""
            name = str(document.get("Name", "")).removeprefix("/")
            return Container(id=container, name=name, image=str(image))
    return None


def has_docker_folder() -> bool:
    """Whether dockerd's own files can be read, so that what is not there does not exist."""
    return any(os.access(os.path.join(folder, "containers"), os.R_OK) for folder in _data_roots())


def _data_roots() -> list[str]:
    configs = [_read(expanded(profile.config)) for profile in docker.PROFILES]
    named = [config.get("data-root") for config in configs if isinstance(config, dict)]
    own = os.environ.get("XDG_DATA_HOME") or f"{home.folder()}/.local/share"
    return [str(folder) for folder in named if folder] + [*DATA_ROOTS, f"{own}/docker"]


def of_storage(folder: str) -> dict[str, Container] | None:
    """Return the containers that podman or cri-o store in a folder; None if that cannot be read."""
    entries = _read(os.path.join(folder, STORAGE))
    if not isinstance(entries, list):
        return None
    containers = [_of_storage(entry) for entry in entries if isinstance(entry, dict)]
    return {container.id: container for container in containers}


def _of_storage(entry: dict[str, Any]) -> Container:
    names = entry.get("names")
    try:
        about = json.loads(entry.get("metadata") or "{}")
    except (ValueError, TypeError):
        about = {}
    image = about.get("image-name", "") if isinstance(about, dict) else ""
    name = str(names[0]) if isinstance(names, list) and names else ""
    return Container(id=str(entry.get("id", "")), name=name, image=str(image))


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
