# SPDX-License-Identifier: Apache-2.0
"""CDI specs: what engines and our own runtime read."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines import facts as engine_facts
from nvidia_runtime.doctor.finding import ERROR, Fine, Skipped, Step
from nvidia_runtime.doctor.specs import contents, devices, fitness, reading
from nvidia_runtime.doctor.specs import files as spec_files
from nvidia_runtime.engines import docker, docker_gpus, running, supported
from nvidia_runtime.errors import some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Code, Finding, Said
    from nvidia_runtime.doctor.specs.files import Specs
    from nvidia_runtime.doctor.subject import Subject

PARTS = (reading, fitness, contents, devices)
CODES: tuple[Code, ...] = tuple(code for part in PARTS for code in part.CODES)


def check(subject: Subject) -> Iterator[Said]:
    """Look at all specs, then at each that is used."""
    yield Step("the CDI specs")
    try:
        specs = spec_files.read(subject, subject.spec_dirs)
    except spec_files.TooManyError as error:
        number, count = error.args
        why = f"{number} of {count} were read in {spec_files.SECONDS} s: 'nvidia-ctk cdi validate'"
        yield Skipped("the CDI specs", why)
        return
    yield _summary(specs)
    yield from reading.check(specs)
    yield from _each(specs)
    yield from devices.check(specs)
    # Last: engines' programs are run for it.
    yield Step("the versions of the engines")
    yield from fitness.check_engines(specs)
    yield Step("the spec dirs of the engines")
    yield from _of_engines(subject, specs)


def _each(specs: Specs) -> Iterator[Finding]:
    for file in specs.used:
        if spec_files.is_nvidias(file.spec["kind"]):
            yield from fitness.check(specs, file)
            yield from contents.check(specs, file)


def _of_engines(subject: Subject, own_specs: Specs) -> Iterator[Finding]:
    """Look into the folders that an engine reads, and our own runtime does not."""
    own = set(map(os.path.realpath, subject.spec_dirs))
    told: set[str] = set()
    for engine in supported.ENGINES.values():
        for daemon in running.all_of(engine):
            facts, _ = engine_facts.gather(daemon)
            if engine is docker.ENGINE and daemon.version >= docker_gpus.BY_CDI:
                yield from _of_docker(own_specs)
            folders = [] if facts.view else facts.read_dirs
            folders = [path for path in folders if os.path.realpath(path) not in (own | told)]
            told |= set(map(os.path.realpath, folders))
            try:
                specs = spec_files.read(subject, folders)
            except spec_files.TooManyError:
                continue
            # Whether it takes GPUs from them alone is told with the engine.
            specs = replace(specs, is_by_specs=False, others="")
            for finding in (*reading.check(specs), *_each(specs)):
                if finding.code is not reading.NONE:
                    yield replace(finding, engine=engine.name)


def _of_docker(specs: Specs) -> Iterator[Finding]:
    """Say once more what is the end of ``docker run --gpus`` where that goes by specs."""
    if specs.others != docker.ENGINE.name:
        for finding in _each(replace(specs, is_by_specs=False, others=docker.ENGINE.name)):
            if finding.weight == ERROR:
                yield finding


def _summary(specs: Specs) -> Fine:
    if not specs.registry.files:
        return Fine(f"none in {', '.join(specs.folders)}", is_main=True)
    files = some(sorted(file.path for file in specs.registry.files))
    count = len(specs.registry.devices)
    return Fine(f"{count} device{'' if count == 1 else 's'}, of {files}", is_main=True)
