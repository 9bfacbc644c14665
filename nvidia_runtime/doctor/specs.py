# SPDX-License-Identifier: Apache-2.0
"""CDI specs: what engines and our own runtime read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.doctor import (
    spec_contents,
    spec_devices,
    spec_files,
    spec_fitness,
    spec_reading,
)
from nvidia_runtime.doctor.finding import Fine, Skipped, Step
from nvidia_runtime.errors import some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Code, Said
    from nvidia_runtime.doctor.spec_files import Specs
    from nvidia_runtime.doctor.subject import Subject

PARTS = (spec_reading, spec_fitness, spec_contents, spec_devices)
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
    yield from spec_reading.check(specs)
    for file in specs.used:
        if spec_files.is_nvidias(file.spec["kind"]):
            yield from spec_fitness.check(specs, file)
            yield from spec_contents.check(specs, file)
    yield from spec_devices.check(specs)
    # Last: engines' programs are run for it.
    yield Step("the versions of the engines")
    yield from spec_fitness.check_engines(specs)


def _summary(specs: Specs) -> Fine:
    if not specs.registry.files:
        return Fine(f"none in {', '.join(specs.folders)}", is_main=True)
    files = some(sorted(file.path for file in specs.registry.files))
    count = len(specs.registry.devices)
    return Fine(f"{count} device{'' if count == 1 else 's'}, of {files}", is_main=True)
