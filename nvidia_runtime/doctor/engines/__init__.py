# SPDX-License-Identifier: Apache-2.0
"""Container engines: whether they know our runtime, and would give a container its GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines import (
    docker,
    facts,
    files,
    groups,
    hooks,
    kubernetes,
    native,
    presence,
    programs,
    ways,
)
from nvidia_runtime.doctor.finding import Engine, Finding, Skipped, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.engines.running import Running

PARTS = (presence, facts, files, programs, ways, native, docker, kubernetes, hooks, groups)
CODES = tuple(code for part in PARTS for code in part.CODES)


def check(subject: Subject) -> Iterator[Said]:
    """Look for engines, and at each."""
    listed: list[Running] = []
    yield from presence.find(listed)
    named: set[str] = set()
    for daemon in listed:
        name = daemon.engine.name
        yield Step(f"{name} and its files")
        gathered, said = facts.gather(daemon)
        yield from said
        if not gathered.is_seen and gathered.knowledge is None:
            yield Skipped(f"{name} (pid {daemon.pid})", daemon.elsewhere)
        is_known = bool(gathered.layers) or gathered.knowledge is not None
        if not is_known and not any(isinstance(one, Finding) for one in said):
            continue
        if kubernetes.is_without(gathered):
            yield from kubernetes.plugin(gathered)
            continue
        if name not in named:
            yield Engine(name)
            named.add(name)
        yield from _judged(gathered, subject, is_known=is_known)


def _judged(gathered: facts.Facts, subject: Subject, *, is_known: bool) -> Iterator[Said]:
    """Judge an engine by what is known of it."""
    if is_known:
        yield from files.check(gathered, is_root=subject.is_root)
        yield from programs.check(gathered, subject.program)
        yield from ways.check(gathered, subject.spec_dirs)
    if gathered.engine == "docker":
        yield from docker.check(gathered, subject)
    if gathered.engine == "containerd":
        yield from kubernetes.check(gathered)
    yield from hooks.check(gathered)
    yield from groups.check(gathered, subject)
