# SPDX-License-Identifier: Apache-2.0
"""The records of containers, with what their engines know of them now: names, images, states."""

from __future__ import annotations

import datetime
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvidia_runtime.admission import engine as engines
from nvidia_runtime.engines import containers
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.oci import lifecycle
from nvidia_runtime.store import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.engines.containers import Container

Record = dict[str, Any]

INJECTED = b',"injected":['
CRI, CRI_O = "io.kubernetes.cri", "io.kubernetes.cri-o"
# Beside the states of `lifecycle`: the engine was told an error, and there is no process.
FAILED = "failed"
IMAGES = (f"{CRI}.image-name", f"{CRI_O}.ImageName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A container with a record.

    ``names`` are what people call it, the first the engine's own; ``time`` is when it was created,
    ``state`` that of `lifecycle`.  ``devices`` are those that it asked for, or, where its engine
    injected some by itself, the nodes of GPUs.  ``failed`` is why its create failed, "" if it
    did not.
    """

    container: str
    names: tuple[str, ...]
    time: str
    engine: str
    image: str
    devices: tuple[str, ...]
    state: str
    bundle: str
    failed: str


class Records:
    """The records in a folder; an engine is asked once, and only if a container of it is there.

    Those of creates that failed are in a folder beside it; of both the younger counts.
    """

    def __init__(self, folder: Path | None) -> None:
        """Look into a folder; None is a machine without one."""
        self.folder = folder or Path(os.devnull)

    @functools.cached_property
    def ids(self) -> list[str]:
        """The ids of the containers with a record, the youngest first."""
        return list(self._paths)

    @functools.cached_property
    def _paths(self) -> dict[str, Path]:
        """The youngest record of each container, the youngest first."""
        paths = [*_listed(self.folder), *_listed(self.folder.with_name(records.FAILED))]
        youngest: dict[str, Path] = {}
        for path in sorted(paths, key=_time, reverse=True):
            youngest.setdefault(path.stem, path)
        return youngest

    def _path(self, name: str) -> Path:
        return self._paths.get(name) or self.folder / f"{name}.json"

    @functools.cached_property
    def docker(self) -> dict[str, Container] | None:
        """What the daemons of docker know, None where none answers."""
        return containers.of_docker()

    @functools.cache  # noqa: B019 (for the time of one command)
    def storage(self, folder: str) -> dict[str, Container] | None:
        """Return what containers/storage has in a folder, None where that cannot be read."""
        return containers.of_storage(folder)

    def entries(self) -> list[Entry]:
        """Describe all that can be read, the youngest first."""
        entries = []
        for name in self.ids:
            try:
                entries.append(self.entry(name, self.head(name)))
            except NvidiaRuntimeError:  # who asks for it is told
                continue
        return entries

    def read(self, name: str) -> Record:
        """Read a record.  Raises `NvidiaRuntimeError` for what is none."""
        path = self._path(name)
        return _decode(_data(path), path)

    def head(self, name: str) -> Record:
        """Read a record, without the edits if it says itself what was asked for."""
        path = self._path(name)
        data = _data(path)
        head, mark, _ = data.partition(INJECTED)  # no string has that: its quotes would be escaped
        record = _decode(head + b"}" if mark else data, path)
        return record if record.get("requested") else _decode(data, path)

    def entry(self, name: str, record: Record) -> Entry:
        """Describe a container by its record and its engine."""
        bundle, labels = str(record.get("bundle", "")), record.get("labels")
        labels = labels if isinstance(labels, dict) else {}
        engine = engines.name({"annotations": labels}, bundle)
        container, is_there = self._ask(engine, name, bundle)
        names = [container.name if container else "", *_names(labels)]
        image = (container.image if container else "") or _first(labels, IMAGES)
        created = datetime.datetime.fromtimestamp(_time(self._path(name)) // 10**9)
        return Entry(
            container=name,
            names=tuple(dict.fromkeys(filter(None, names))),
            time=created.astimezone().isoformat(),
            engine=engine,
            image=image,
            devices=_devices(record),
            state=_state(name, record, container, is_there=is_there),
            bundle=bundle,
            failed=_failure(record),
        )

    def _ask(self, engine: str, name: str, bundle: str) -> tuple[Container | None, bool | None]:
        """Return what an engine knows of a container, and whether it is there, None for unknown."""
        if engine == "docker":
            if self.docker is not None:
                return self.docker.get(name), name in self.docker
            container = containers.in_docker_folder(name)
            is_known = bool(container) or containers.has_docker_folder()
            return container, bool(container) if is_known else None
        if engine in ("podman", "cri-o"):
            stored = self.storage(os.path.dirname(os.path.dirname(bundle)))
            is_there = os.path.isdir(bundle)
            return (stored.get(name), name in stored) if stored is not None else (None, is_there)
        # containerd makes a bundle anew at each start; without an engine, runc alone knows.
        return None, os.path.isdir(bundle) if engine else False


def _state(name: str, record: Record, container: Container | None, *, is_there: bool | None) -> str:
    """Return the state of a container: as its engine says, or by its process."""
    if _failure(record):
        return FAILED
    if container and container.state:
        return container.state
    root = str(record.get("root", ""))
    state = lifecycle.state(name, root)
    if state != lifecycle.GONE:
        return state
    if "root" not in record and is_there is not False:  # of an older version
        return lifecycle.UNKNOWN
    return {True: lifecycle.STOPPED, False: lifecycle.GONE, None: lifecycle.UNKNOWN}[is_there]


def _names(labels: dict[str, str]) -> list[str]:
    """Return what annotations call a container: of a pod, with the pod's name before its own."""
    names = [labels.get(records.NAME, ""), labels.get("nerdctl/name", "")]
    own, pod, space = (labels.get(f"{CRI}.{part}", "") for part in _PARTS)
    whole = labels.get(f"{CRI_O}.Name", "")
    if whole.count("_") >= 3:  # k8s_CONTAINER_POD_NAMESPACE_…, whose parts have none
        own, pod, space = whole.split("_")[1:4]
    if pod:
        names += ["/".join(filter(None, parts)) for parts in ((pod, own), (space, pod, own))]
    return [*names, own, whole, pod]


_PARTS = ("container-name", "sandbox-name", "sandbox-namespace")


def _first(labels: dict[str, str], keys: tuple[str, ...]) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")


def _devices(record: Record) -> tuple[str, ...]:
    """Return the devices of a container, as far as the record names them."""
    if requested := record.get("requested"):
        return tuple(map(str, requested))
    nodes = [
        str(node.get("path", ""))
        for part in record.get("injected", ())
        for node in (part.get("edits") or {}).get("devices", ())
    ]
    return tuple(path for path in nodes if path.removeprefix("/dev/nvidia").isdigit())


def _failure(record: Record) -> str:
    failed = record.get("failure")
    return str(failed.get("error", "")) if isinstance(failed, dict) else ""


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix == ".json"]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise NvidiaRuntimeError(os_reason(error), str(folder)) from None


def _data(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NvidiaRuntimeError(os_reason(error), str(path)) from None


def _decode(data: bytes, path: Path) -> Record:
    try:
        record: Record = json.loads(data)
    except ValueError as error:
        raise NvidiaRuntimeError(f"is not a record: {error}", str(path)) from None
    if not isinstance(record, dict):
        raise NvidiaRuntimeError("is not a record: it must be an object", str(path))
    return record


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # a create has pruned it
        return 0
