# SPDX-License-Identifier: Apache-2.0
"""containerd: config.toml of version 1, 2 and 3, and a drop-in that it imports.

A drop-in repeats the whole table of the CRI plugin, since containerd before 2.1 takes such a table
from the last file that has one.  Version 1 is edited in place.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from typing import Any

from nvidia_runtime.engines import (
    containerd_files,
    difference,
    program,
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
from nvidia_runtime.engines.engine import ChangeSet, Engine, Intent, Places, Profile, Version
from nvidia_runtime.engines.write import Change
from nvidia_runtime.errors import NvidiaRuntimeError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What containerd runs with, in which version, and where that was read."""

    document: Document
    where: str
    version: int

    @property
    def at(self) -> Places:
        """The places of what we change there."""
        return places(self.version)


def configure(intent: Intent) -> ChangeSet:
    """Add our runtime in a drop-in that the file imports, or in the file itself."""
    own = write.read(intent.config)
    document = toml_file.parse(own or "", intent.config)
    engine = _version(intent, document)
    newest = NEWEST[0] if engine >= NEWEST[1] else DEFAULT_VERSION
    heeded = _heeded(intent, document, engine)
    is_in_place = not intent.drop_in or version_of(heeded, intent.config, newest) == 1
    source = _source(intent, heeded, newest, is_in_place)
    intent = replace(intent, version=engine)
    if is_in_place:
        changes = _in_place(intent, own, document, source)
    elif intent.is_merged:
        entry = _entry(source, source.version, intent)
        content = runtimes.with_runtime({}, source.at, entry, intent)
        changes = [toml_engine.drop_in({"version": source.version, **content}, source.at, intent)]
    else:
        changes = _with_drop_in(intent, own, document, source)
    return ChangeSet(
        changes=tuple(changes),
        warnings=(*_surprises(intent, source), *_warnings_of(intent, heeded, document)),
    )


def _version(intent: Intent, document: Document) -> Version:
    """Return containerd's version, of the program in PATH where a file is silent of its own."""
    if intent.version or "version" in document or intent.root:
        return intent.version
    path = shutil.which(intent.executable or ENGINE.program)
    return program.version(path, path) if path else ()


def _heeded(intent: Intent, document: Document, engine: Version) -> Document:
    """Return what counts of a file: containerd 2 heeds no CRI table of version 1."""
    if not document or engine < NEWEST[1] or version_of(document, intent.config) != 1:
        return document
    if not intent.drop_in:
        raise NvidiaRuntimeError(
            "containerd 2 heeds no runtimes in a file of version 1",
            intent.config,
            "give it a --drop-in-config, which is of version 3",
        )
    return {"version": NEWEST[0]}


def _in_place(intent: Intent, own: str | None, document: Document, source: Source) -> list[Change]:
    version = version_of(document, intent.config, source.version)
    at = places(version)
    table = difference.carried_out(_beside(source, at, intent), document or {"version": version})
    new = _with_runtime(table, at, _entry(source, version, intent), intent)
    return [toml_engine.in_place(intent.config, own, new)]


def _with_drop_in(
    intent: Intent, own: str | None, document: Document, source: Source
) -> list[Change]:
    """Repeat the whole table of the CRI plugin in the drop-in."""
    at, version = source.at, source.version
    cri = at.runtimes[:2]
    table = Edit(cri, runtimes.table(source.document, cri, source.where))
    content = difference.carried_out([table, *_beside(source, at, intent)], {})
    content = _with_runtime(content, at, _entry(source, version, intent), intent)
    return [
        toml_engine.drop_in({"version": version, **content}, at, intent),
        containerd_files.importing(intent, own, document, version),
    ]


def _beside(source: Source, at: Places, intent: Intent) -> list[Edit]:
    """Add runc where files are silent of it, since a table of runtimes replaces the built-in one.

    containerd 1 then lacks the runtime that is its default, and starts without CRI.
    """
    default = _default(source)
    is_silent = default in ("", STOCK) or (default == intent.name and not intent.is_default)
    stock = difference.at(source.document, (*source.at.runtimes, STOCK))
    if source.version > DEFAULT_VERSION or intent.version >= NEWEST[1]:
        return []
    if not is_silent or stock is not ABSENT:
        return []
    table = containerd_files.stock(source.document, source.at, intent)
    return [Edit((*at.runtimes, STOCK), table)]


def _default(source: Source) -> str:
    document = runtimes.in_force(source.document, source.at)
    return runtimes.text(document, source.at.default, source.where)


def _surprises(intent: Intent, source: Source) -> list[str]:
    """Say where pods may get another runtime, or other options, than one would expect."""
    default = _default(source)
    if default == intent.name and not intent.is_default and not intent.is_merged:
        return [f"{default} is no longer the default runtime; --set-as-default keeps it"]
    options = toml_engine.options(source.document, source.at, intent.name, source.where)
    if options is None and default not in ("", STOCK):
        return ["no runtime runc or crun is configured; ours gets containerd's defaults"]
    return []


def _warnings_of(intent: Intent, heeded: Document, document: Document) -> list[str]:
    """Say what in a file keeps kubernetes, or us, from what we would do."""
    warnings = []
    version = version_of(heeded, intent.config)
    if containerd_files.has_no_cri(document):
        warnings.append("disabled_plugins has CRI, by which kubernetes asks for runtimes")
    if version == 1 and intent.drop_in:
        warnings.append("a file of version 1 is edited in place, without a drop-in")
    return warnings


def _entry(source: Source, version: int, intent: Intent) -> Document:
    """Make the table of our runtime, for a file of a version, from that of another one."""
    options = toml_engine.options(source.document, source.at, intent.name, source.where)
    is_copy = options is not None
    options = containerd_files.builtin(version) if options is None else options
    inner = options.get("options", {})
    if not isinstance(inner, dict):
        raise runtimes.wrong_type(("options",), "a table", inner, source.where)
    names = containerd_files.PROGRAMS if version == 1 else containerd_files.PROGRAMS[:1]
    kind = {"runtime_type": intent.kind} if intent.kind and not is_copy else {}
    entry = {"runtime_type": RUNTIME["runtime_type"], **options, **kind}
    if intent.annotations:
        entry["container_annotations"] = _annotations(intent, options)
    return {**entry, "options": {**inner, **dict.fromkeys(names, intent.program)}}


def _annotations(intent: Intent, options: Document) -> list[Any]:
    """Return the patterns of annotations that containerd hands on: ours, and those of a copy."""
    others = options.get("container_annotations", [])
    others = others if isinstance(others, list) else []
    return [*intent.annotations, *(one for one in others if one not in intent.annotations)]


def _with_runtime(document: Document, at: Places, entry: Document, intent: Intent) -> Document:
    runtimes.table(document, at.runtimes, intent.config)
    default = runtimes.text(document, at.default, intent.config)
    if default == intent.name and not intent.is_default:
        # A run without the flag means that the runtime is not to be the default.
        document = difference.carried_out([Edit(at.default, ABSENT)], document)
    return runtimes.with_runtime(document, at, entry, intent)


def _source(intent: Intent, document: Document, newest: int, is_in_place: bool) -> Source:
    """Return what containerd runs with, from itself or from its files."""
    where = intent.config
    if intent.by_command:
        # A version is known of the engine that was found, and then the file is its own.
        is_own = intent.version and os.path.exists(intent.config) and not intent.root
        file = ["--config", intent.config] if is_own else []
        program = intent.executable or ENGINE.program
        words = [program, *file, "config", "dump"]
        text, where = toml_engine.asked(words, root=intent.root)
        document = toml_file.parse(text, where)
    elif not is_in_place or version_of(document, where) > DEFAULT_VERSION:
        drop_in = os.path.realpath(intent.drop_in)
        _own, *others = containerd_files.layers(intent.config, intent.view())
        others = [layer for layer in others if os.path.realpath(layer[0]) != drop_in]
        document = containerd_files.combined([(intent.config, document), *others])
    # Else a table in another file would replace this file's, and not be a part of it.
    return Source(document=document, where=where, version=version_of(document, where, newest))


ENGINE = Engine(
    name="containerd",
    program="containerd",
    profiles=PROFILES,
    drop_in="/etc/containerd/conf.d/99-nvidia.toml",
    config_flags=("--config", "-config", "-c"),
    socket_variable="CONTAINERD_ADDRESS",
    prints_configuration=True,
    labels_if="enable_selinux",
    rereads_by="signal",
    cdi_versions=(
        ((1, 7), "0.5.0"),  # https://github.com/containerd/containerd/pull/7374
        ((1, 7, 16), "0.7.0"),  # https://github.com/NVIDIA/nvidia-container-toolkit/issues/1860
        ((1, 7, 24), "0.8.0"),  # Debian 13 has it: tests/engines/test_ways.py
        ((2, 1), "1.0.0"),  # sid has it: tests/engines/test_ways.py
    ),
    cdi_by_default=(2,),
    oldest=(1, 3),  # with files of version 2
    without_cdi="what a pod asks for by CDI is dropped without a word",
    format=toml_engine.TOML,
    places_in=containerd_files.places_in,
    configure=configure,
    layers=containerd_files.layers,
    combined=containerd_files.combined,
    question=lambda path, _drop_in: ["--config", path, "config", "dump"],
    completed=containerd_files.completed,
    is_left_over=containerd_files.is_left_over,
    undone=containerd_files.undone,
)
