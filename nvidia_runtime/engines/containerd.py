# SPDX-License-Identifier: Apache-2.0
"""containerd: config.toml of version 1, 2 and 3, and a drop-in that it imports.

A drop-in repeats the whole table of the CRI plugin, since containerd before 2.1 takes such a table
from the last file that has one.  Version 1 is edited in place.
"""

from __future__ import annotations

import os
from typing import Any

from nvidia_runtime.engines import (
    containerd_files,
    difference,
    runtimes,
    toml_engine,
    toml_file,
    write,
)
from nvidia_runtime.engines.containerd_files import (
    DEFAULT_VERSION,
    NEWEST,
    RUNTIME,
    STOCK,
    places,
    version_of,
)
from nvidia_runtime.engines.difference import ABSENT, Document, Edit
from nvidia_runtime.engines.engine import ChangeSet, Engine, Intent, Places, Profile, Summary

K3S = "{0} finds nvidia-container-runtime itself when it starts; there is nothing to configure"
K3S_HINT = (
    "restart {0} after the runtime was installed, and give pods runtimeClassName: nvidia; "
    "--default-runtime=nvidia of {0} makes it the default"
)


def _rancher(name: str, *units: str) -> Profile:
    folder = f"/var/lib/rancher/{name}/agent/etc/containerd"
    return Profile(
        name=name,
        marks=rf"/{name}/(data|agent)/",
        config=f"{folder}/config.toml",
        templates=(((), f"{folder}/config.toml.tmpl"), ((2,), f"{folder}/config-v3.toml.tmpl")),
        sockets=("/run/k3s/containerd/containerd.sock",),
        units=units,
        advice=K3S.format(name),
        note=K3S_HINT.format(name),
    )


PROFILES = (
    Profile(
        config="/etc/containerd/config.toml",
        sockets=("/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock"),
        units=("containerd",),
    ),
    _rancher("k3s", "k3s", "k3s-agent"),
    _rancher("rke2", "rke2-server", "rke2-agent"),
    Profile(
        name="k0s",
        marks=r"/k0s/(bin|run|containerd)/|/run/k0s/",
        config="/etc/k0s/containerd.toml",
        drop_in="/etc/k0s/containerd.d/nvidia.toml",
        sockets=("/run/k0s/containerd.sock", "/var/lib/k0s/run/containerd.sock"),
        units=("k0scontroller", "k0sworker"),
    ),
    Profile(
        name="microk8s",
        marks=r"/snap/microk8s/",
        config="/var/snap/microk8s/current/args/containerd.toml",
        templates=(((), "/var/snap/microk8s/current/args/containerd-template.toml"),),
        sockets=("/var/snap/microk8s/common/run/containerd.sock",),
        units=("microk8s.daemon-containerd",),
        restart=("snap", "restart"),
    ),
)


def configure(intent: Intent) -> ChangeSet:
    """Add our runtime in a drop-in that the file imports, or in the file itself."""
    own = write.read(intent.config)
    document = toml_file.parse(own or "", intent.config)
    newest = NEWEST[0] if intent.version >= NEWEST[1] else DEFAULT_VERSION
    source, where = _source(intent, document)
    version = version_of(source, where, newest)
    at = places(version)
    warnings = []
    entry = toml_engine.options(source, at, intent.name, where)
    default = runtimes.text(source, at.default, where)
    if entry is None and default not in ("", STOCK):
        warnings.append("no runtime runc or crun is configured; ours gets containerd's defaults")
    if {"cri", at.runtimes[1]} & set(_strings(document.get("disabled_plugins"))):
        warnings.append("disabled_plugins has CRI, by which kubernetes asks for runtimes")
    if default == intent.name and not intent.is_default and not intent.is_merged:
        warnings.append(f"{default} is no longer the default runtime; --set-as-default keeps it")
    entry = _runtime(RUNTIME if entry is None else entry, intent.program, version, where)
    beside = _beside(source, at, intent, version)
    if version == 1 or not intent.drop_in:
        if version == 1 and intent.drop_in:
            warnings.append("a file of version 1 is edited in place, without a drop-in")
        if not document and version != 1:
            document = {"version": version}
        own_places = containerd_files.places_in(document, intent.config)
        document = difference.carried_out(beside, document)
        new = _with_runtime(document, own_places, entry, intent)
        changes = [toml_engine.in_place(intent.config, own, new)]
    elif intent.is_merged:
        content = {"version": version, **runtimes.with_runtime({}, at, entry, intent)}
        changes = [toml_engine.drop_in(content, at, intent)]
    else:
        content = _with_runtime(_table(source, at, beside, where), at, entry, intent)
        importing = containerd_files.importing(intent, own, document, version)
        after = toml_file.parse(importing.after or "", intent.config)
        warnings += containerd_files.later(intent, after, version)
        content = {"version": version, **content}
        changes = [toml_engine.drop_in(content, at, intent), importing]
    return ChangeSet(changes=tuple(changes), warnings=tuple(warnings))


def _table(source: Document, at: Places, beside: list[Edit], where: str) -> Document:
    """Return the whole table of the CRI plugin, which a drop-in repeats."""
    cri = at.runtimes[:2]
    table = runtimes.table(source, cri, where)
    return difference.carried_out([Edit(cri, table), *beside], {})


def _beside(source: Document, at: Places, intent: Intent, version: int) -> list[Edit]:
    """Add runc where files are silent of it, since a table of runtimes replaces the built-in one.

    containerd 1 then lacks the runtime that is its default, and starts without CRI.
    """
    default = difference.at(source, at.default)
    is_silent = default in (ABSENT, "", STOCK) or (default == intent.name and not intent.is_default)
    is_missing = is_silent and difference.at(source, (*at.runtimes, STOCK)) is ABSENT
    if version > DEFAULT_VERSION or intent.version >= NEWEST[1] or not is_missing:
        return []
    return [Edit((*at.runtimes, STOCK), containerd_files.stock(source, at, intent))]


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _runtime(options: Document, program: str, version: int, where: str) -> Document:
    """Make the table of our runtime from that of another one."""
    inner = options.get("options", {})
    if not isinstance(inner, dict):
        raise runtimes.wrong_type(("options",), "a table", inner, where)
    paths = {"BinaryName": program, **({"Runtime": program} if version == 1 else {})}
    entry = {"runtime_type": RUNTIME["runtime_type"], **options}
    return {**entry, "options": {**inner, **paths}}


def _with_runtime(document: Document, at: Places, entry: Document, intent: Intent) -> Document:
    runtimes.table(document, at.runtimes, intent.config)
    default = runtimes.text(document, at.default, intent.config)
    if default == intent.name and not intent.is_default:
        # A run without the flag means that the runtime is not to be the default.
        document = difference.carried_out([Edit(at.default, ABSENT)], document)
    return runtimes.with_runtime(document, at, entry, intent)


def _source(intent: Intent, document: Document) -> tuple[Document, str]:
    """Return what containerd runs with, from itself or from its files, and where that was read."""
    if intent.by_command:
        # A version is known of the engine that was found, and then the file is its own.
        is_own = intent.version and os.path.exists(intent.config)
        file = ["--config", intent.config] if is_own else []
        text, name = toml_engine.asked(
            [intent.executable or ENGINE.program, *file, "config", "dump"]
        )
        return toml_file.parse(text, name), name
    if not document:
        return document, intent.config
    version = version_of(document, intent.config)
    source = containerd_files.imported(document, version, intent.config, intent.drop_in)
    return source, intent.config


def describe(path: str) -> Summary:
    """Return what config.toml and the files that it imports say of our runtimes."""
    document = toml_file.parse(write.read(path) or "", path)
    version = version_of(document, path)
    if not document:
        return Summary()
    whole = containerd_files.imported(document, version, path, "")
    return runtimes.summary(whole, places(version))


ENGINE = Engine(
    name="containerd",
    program="containerd",
    profiles=PROFILES,
    drop_in="/etc/containerd/conf.d/99-nvidia.toml",
    config_flags=("--config", "-config", "-c"),
    socket_variable="CONTAINERD_ADDRESS",
    prints_configuration=True,
    cdi_versions=(
        ((1, 7), "0.5.0"),  # https://github.com/containerd/containerd/pull/7374
        ((1, 7, 16), "0.7.0"),  # https://github.com/NVIDIA/nvidia-container-toolkit/issues/1860
        ((1, 7, 24), "0.8.0"),  # tried
        ((2, 1), "1.0.0"),  # tried
    ),
    cdi_by_default=(2,),
    format=toml_engine.TOML,
    places_in=containerd_files.places_in,
    configure=configure,
    describe=describe,
    question=lambda path, _drop_in: ["--config", path, "config", "dump"],
    is_left_over=containerd_files.is_left_over,
    undone=containerd_files.undone,
)
