# SPDX-License-Identifier: Apache-2.0
"""What a container was given, as its record and its config.json say.

The record is ours and says what was injected; config.json, which we wrote at its create, says with
which numbers and rules.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux.device_rules import ACCESSES, KINDS, Rule
from nvidia_runtime.oci import bundle as oci_bundle
from nvidia_runtime.oci import edit

Record = dict[str, Any]
# NVIDIA's nodes; where an engine injected by itself, config.json has all others beside them.
NODES = ("/dev/nv", "/dev/dri/", "/dev/dxg")
DRIVERS = ("nvidia", "cuda")
BINDS = ("bind", "rbind")
CACHE_VERB = "update-ldcache"
# Names of libraries without which nothing works, as programs ask for them.
LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
LEGACY = "legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A device node; ``numbers`` are None where config.json does not tell, ``access`` may be ""."""

    path: str
    host_path: str
    kind: str
    numbers: tuple[int, int] | None
    access: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount; ``is_bind`` says that it shows a file or folder of the host."""

    destination: str
    source: str
    is_bind: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All that a container was given, and why a part of it is not known, "" if all is."""

    nodes: tuple[Node, ...]
    mounts: tuple[Mount, ...]
    libraries: tuple[str, ...]
    variables: dict[str, str]
    doubt: str


def read(record: Record) -> Asked:
    """Read what a record and the bundle that it names say."""
    spec, doubt = _spec(record)
    nodes: dict[str, Node] = {}
    mounts: dict[str, Mount] = {}
    variables: dict[str, str] = {}
    has_cache = False
    for part in _dicts(record.get("injected")):
        edits = part.get("edits")
        if not isinstance(edits, dict):
            continue
        is_engines = "engine" in part["from"] if isinstance(part.get("from"), dict) else False
        for entry in _dicts(edits.get("devices")):
            if node := _node(entry, spec, is_engines=is_engines):
                nodes[node.path] = node
        for entry in _dicts(edits.get("mounts")):
            if mount := _mount(entry, is_engines=is_engines):
                mounts[mount.destination] = mount
        env = edits.get("env")
        listed = env if isinstance(env, list) else []
        variables |= dict(str(entry).partition("=")[::2] for entry in listed)
        has_cache = has_cache or CACHE_VERB in str(edits.get("hooks"))
    names = {os.path.basename(path) for path in mounts}
    libraries = [
        name for name in LIBRARIES if any(one.startswith(name.removesuffix("1")) for one in names)
    ]
    return Asked(
        nodes=tuple(nodes[path] for path in sorted(nodes)),
        mounts=tuple(mounts[path] for path in sorted(mounts)),
        libraries=tuple(libraries) if has_cache else (),
        variables=variables,
        doubt=doubt,
    )


def _spec(record: Record) -> tuple[Record | None, str]:
    """Return the config.json of a container, and why something of it is not known."""
    doubt = ""
    if record.get("mode") == LEGACY:
        doubt = "in legacy mode nvidia-container-cli adds devices, which no record has"
    elif record.get("cut"):
        doubt = f"the record lacks {record['cut']}"
    try:
        return oci_bundle.read(str(record.get("bundle", ""))).spec, doubt
    except NvidiaRuntimeError as error:
        return None, doubt or str(error)


def _node(entry: Record, spec: Record | None, *, is_engines: bool) -> Node | None:
    path, host_path = entry.get("path"), entry.get("hostPath") or entry.get("path")
    if not isinstance(path, str) or not isinstance(host_path, str):
        return None
    if is_engines and not path.startswith(NODES):
        return None
    kind, access = _kind(entry) or "c", entry.get("permissions") or "rwm"
    if spec is None:
        allowed = "" if access == edit.NO_ACCESS or kind not in KINDS else str(access)
        return Node(path=path, host_path=host_path, kind=kind, numbers=None, access=allowed)
    for node in reversed(oci_bundle.devices(spec)):
        numbers = node.get("major"), node.get("minor")
        if node["path"] == path and all(type(number) is int for number in numbers):
            major, minor = int(numbers[0] or 0), int(numbers[1] or 0)
            kind = _kind(node) or "c"
            rule = Rule(kind=kind, major=major, minor=minor)
            access = _access(spec, rule)
            pair = major, minor
            return Node(path=path, host_path=host_path, kind=kind, numbers=pair, access=access)
    # A rootless engine mounts nodes, and needs no rule.
    return Node(path=path, host_path=host_path, kind=kind, numbers=None, access="")


def _kind(entry: Record) -> str:
    kind = str(entry.get("type") or "")
    return "c" if kind == "u" else kind


def _access(spec: Record, rule: Rule) -> str:
    """Return what the rules of config.json for this very device allow."""
    resources = (spec.get("linux") or {}).get("resources")
    rules = resources.get("devices") if isinstance(resources, dict) else None
    letters = "".join(
        str(one.get("access") or "")
        for one in _dicts(rules)
        if one.get("allow") is True
        and (_kind(one), one.get("major"), one.get("minor")) == (rule.kind, rule.major, rule.minor)
    )
    return "".join(letter for letter in "rwm" if letter in letters and letter in ACCESSES)


def _mount(entry: Record, *, is_engines: bool) -> Mount | None:
    destination, source = entry.get("destination"), entry.get("source")
    if not isinstance(destination, str) or not isinstance(source, str):
        return None
    if is_engines and not any(word in destination for word in DRIVERS):
        return None
    options = entry.get("options")
    listed = options if isinstance(options, list) else []
    is_bind = entry.get("type") in (None, "", "bind", "none") or any(
        word in BINDS for word in listed
    )
    return Mount(destination=destination, source=source, is_bind=is_bind)


def _dicts(value: Any) -> list[Record]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
