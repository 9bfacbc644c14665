# SPDX-License-Identifier: Apache-2.0
"""Images by their names in engines: docker's daemon is asked, containers/storage is read.

Layers are read in the engines' own folders, where they can be: nothing is exported or mounted.
containerd keeps them where only its own API leads.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
import urllib.parse
from typing import Any

from nvidia_runtime.admission.image import config_file
from nvidia_runtime.engines import docker, docker_info, home, running
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.images.image import LARGEST, Image, member
from nvidia_runtime.images.layers import FolderLayer
from nvidia_runtime.images.tree import Layer, Tree
from nvidia_runtime.rootfs import files

MOST_LAYERS = 256
# Where an image has no registry in its name: docker.io for a pull, localhost for a build.
REGISTRIES = ("", "localhost/", "docker.io/library/", "docker.io/")
SHORTEST_ID = 4
STORAGE_CONF = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
GRAPH_ROOT = "/var/lib/containers/storage"
ELSEWHERE = "its files are where they cannot be read from here"


def find(name: str) -> Image | None:
    """Return the image that docker or podman calls so; None where neither has one."""
    return _in_docker(name) or _in_storage(name)


def _in_docker(name: str) -> Image | None:
    question = f"/images/{urllib.parse.quote(name, safe='/:@')}/json"
    for socket in running.sockets(docker.ENGINE):
        about = docker_info.get(socket, question)
        if isinstance(about, dict):
            tree, reason = _docker_tree(socket, about)
            return Image(
                name=name,
                source="docker",
                configuration={
                    "config": member(about, "Config", dict),
                    "architecture": member(about, "Architecture", str),
                },
                tree=tree,
                reason=reason,
            )
    return None


def _docker_tree(socket: str, about: dict[str, Any]) -> tuple[Tree | None, str]:
    driver = member(about, "GraphDriver", dict)
    name, data = member(driver, "Name", str), member(driver, "Data", dict)
    if name == "overlay2":
        lower = member(data, "LowerDir", str)
        folders = [member(data, "UpperDir", str), *(lower.split(":") if lower else ())]
        return _tree(folders)
    if name == "vfs" and (folder := _whole_of_docker(socket, about, name)):
        return _tree([folder])
    store = f"its storage driver is {name}" if name else "it is in containerd's image store"
    return None, f"{store}: docker save it, and name the archive"


def _whole_of_docker(socket: str, about: dict[str, Any], driver: str) -> str:
    """Return the folder with all files of an image, as the driver vfs has one for each layer."""
    info = docker_info.get(socket, "/info")
    chain = ""
    for layer in member(member(about, "RootFS", dict), "Layers", list):
        whole = f"{chain} {layer}" if chain else str(layer)
        chain = f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}" if chain else whole
    root, digits = member(info, "DockerRootDir", str), chain.partition(":")[2]
    try:
        with open(f"{root}/image/{driver}/layerdb/sha256/{digits}/cache-id") as file:
            identifier = file.read(256).strip()
    except (OSError, ValueError):
        return ""
    return f"{root}/{driver}/dir/{identifier}" if identifier and "/" not in identifier else ""


def _in_storage(name: str) -> Image | None:
    for root in _graph_roots():
        for driver in ("overlay", "vfs"):
            for entry in _list(f"{root}/{driver}-images/images.json"):
                if _is_called(entry, name):
                    return _stored(root, driver, entry, name)
    return None


def _graph_roots() -> list[str]:
    """Return where podman and cri-o store images: storage.conf(5)."""
    own = os.environ.get("XDG_CONFIG_HOME") or f"{home.folder()}/.config"
    data = os.environ.get("XDG_DATA_HOME") or f"{home.folder()}/.local/share"
    named = os.environ.get("CONTAINERS_STORAGE_CONF")
    paths = [named] if named else [f"{own}/containers/storage.conf", *STORAGE_CONF]
    roots: list[str] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                storage = member(tomllib.load(file), "storage", dict)
        except (OSError, ValueError):
            continue
        options = member(storage, "options", dict)
        for root in (storage.get("graphroot"), *member(options, "additionalimagestores", list)):
            if isinstance(root, str) and root.startswith("/"):
                roots.append(root)
    own_root = GRAPH_ROOT if os.geteuid() == 0 else f"{data}/containers/storage"
    return list(dict.fromkeys([*roots, own_root]))


def _is_called(entry: dict[str, Any], name: str) -> bool:
    if len(name) >= SHORTEST_ID and member(entry, "id", str).startswith(name):
        return True
    is_whole = "@" in name or ":" in name.rpartition("/")[2]
    whole = name if is_whole else f"{name}:latest"
    names = member(entry, "names", list)
    return any(f"{registry}{whole}" in names for registry in REGISTRIES)


def _stored(root: str, driver: str, entry: dict[str, Any], name: str) -> Image:
    folder = f"{root}/{driver}-images/{os.path.basename(member(entry, 'id', str))}"
    manifest = _read(f"{folder}/manifest")
    digest = member(member(manifest, "config", dict), "digest", str)
    configuration = _read(f"{folder}/{config_file(digest)}")
    top = os.path.basename(member(entry, "layer", str))
    if driver == "vfs":
        tree, reason = _tree([f"{root}/vfs/dir/{top}"])
    else:
        tree, reason = _tree([f"{root}/{driver}/{one}/diff" for one in _chain(root, driver, top)])
    return Image(
        name=name,
        source="containers/storage (podman, cri-o)",
        configuration=configuration if isinstance(configuration, dict) else {},
        annotations=member(manifest, "annotations", dict),
        tree=tree,
        reason=reason,
    )


def _chain(root: str, driver: str, top: str) -> list[str]:
    """Return a layer and those below it."""
    listed = [
        *_list(f"{root}/{driver}-layers/layers.json"),
        *_list(f"{root}/{driver}-layers/volatile-layers.json"),
    ]
    parents = {member(entry, "id", str): member(entry, "parent", str) for entry in listed}
    chain: list[str] = []
    while top and top not in chain and len(chain) <= MOST_LAYERS:
        chain.append(os.path.basename(top))
        top = parents.get(top, "")
    return chain


def _tree(folders: list[str]) -> tuple[Tree | None, str]:
    if len(folders) > MOST_LAYERS:
        return None, f"it has more than {MOST_LAYERS} layers"
    layers: list[Layer] = []
    for folder in folders:
        if not folder.startswith("/"):
            return None, ELSEWHERE
        try:
            layers.append(FolderLayer(folder, is_upper=True))
        except OSError as error:
            return None, f"{ELSEWHERE}: {folder}: {os_reason(error)}"
    return Tree(layers), ""


def _list(path: str) -> list[dict[str, Any]]:
    value = _read(path)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _read(path: str) -> Any:
    """Read a JSON file of an engine's, None where it cannot be read."""
    try:
        with os.fdopen(files.open_hosts(path), "rb") as file:
            return json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError, NvidiaRuntimeError):
        return None
