# SPDX-License-Identifier: Apache-2.0
"""Warnings about valid CDI specs: what fails on this host, and what could be abused."""

from __future__ import annotations

import os

from nvidia_runtime.cdi import engine_support, registry, versions
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.doctor.specs import faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.cdi.registry import Registry
    from nvidia_runtime.cdi.spec import Spec


def of_hooks(spec: Spec, file: str) -> Iterator[Finding]:
    """Warn of hooks that a container could influence by its environment or working directory."""
    for place, _ in faults.bare_hooks(spec):
        text = "is missing: the hook inherits variables of the image, such as LD_PRELOAD"
        yield _warning(file, f"{place}.env", f"{text} (CVE-2025-23266)")
    for place, path in faults.relative_hooks(spec):
        text = f"{path!r} is relative: the program depends on the working directory"
        yield _warning(file, f"{place}.path", text)


def of_host(spec: Spec, file: str) -> Iterator[Finding]:
    """Warn of device nodes, mounts and hooks that this host lacks, or has with other numbers."""
    nodes = dict(faults.missing_nodes(spec) + faults.other_nodes(spec))
    for place, _ in faults.items(spec, "deviceNodes"):
        if place in nodes:
            yield _warning(file, place, nodes[place])
    for place, path in faults.missing_mounts(spec):
        yield _warning(file, f"{place}.hostPath", f"{path!r} does not exist on this host")
    for path, places in faults.missing_programs(spec).items():
        others = f", for {len(places)} hooks" if len(places) > 1 else ""
        text = f"{path!r} is not a program on this host{others}"
        yield _warning(file, f"{places[0]}.path", text)


def of_engines(spec: Spec, file: str) -> Iterator[Finding]:
    """Warn of a version that an engine of this host does not know: it ignores the whole file."""
    version = spec["cdiVersion"].removeprefix("v")
    for engine, newest in engine_support.by_engine().items():
        if versions.is_older(newest, version):
            text = (
                f"{engine} reads CDI up to {newest}, and ignores this file:"
                f" 'nvidia-ctk cdi generate --output={file}' writes one that it reads"
            )
            yield _warning(file, "cdiVersion", text)


def of_owner(path: str) -> Iterator[Finding]:
    """Warn of a file or folder that other users than root and ourselves can change."""
    for text in registry.doubts(path):
        yield _warning(path, "", text)


def of_dirs(dirs: list[str]) -> Iterator[Finding]:
    """Warn of files that are ignored because of their names, and if no spec dir exists."""
    for path in faults.ignored(dirs):
        yield _warning(path, "", "is ignored: the name of a CDI spec ends in .json or .yaml")
    if not any(os.path.exists(folder) for folder in dirs):
        yield _warning(", ".join(dirs), "", "no spec dir exists")


def of_registry(host: Registry, specs: dict[str, Spec], files: list[str]) -> Iterator[Finding]:
    """Warn of devices of valid specs that are not used: conflicts, unreadable dirs, priorities.

    ``specs`` are the valid ones by path; errors of the ``files`` are reported elsewhere.
    """
    for error in host.errors:
        if error.where.partition(": ")[0] not in files:
            yield _warning(error.where, "", error.what)
    for path, spec in specs.items():
        for index, device in enumerate(spec["devices"]):
            name = f"{spec['kind']}={device['name']}"
            if name in host.devices and (winner := host.devices[name][0].path) != path:
                text = f"device {name} is not used: {winner} has a higher priority"
                yield _warning(path, f"devices[{index}]", text)


def _warning(file: str, path: str, message: str) -> Finding:
    return Finding(severity="warning", file=file, path=path, message=message)
