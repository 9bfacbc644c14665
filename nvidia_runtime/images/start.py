# SPDX-License-Identifier: Apache-2.0
"""What a create of an image would do here, by what a create does: admission and sources.

The config.json is the one that docker would write for ``docker run IMAGE``: the image's
environment, and no privileges.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from nvidia_runtime import create
from nvidia_runtime.admission import image as images
from nvidia_runtime.admission import request, requirements
from nvidia_runtime.admission.policy import Admitted
from nvidia_runtime.admission.request import Request
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import facts
from nvidia_runtime.images.image import Image
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.oci.bundle import Bundle
from nvidia_runtime.sources import find
from nvidia_runtime.store import files
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.store.snapshot import Settings, Snapshot

OFF = "off"
RUNTIME = "nvidia-container-runtime"
# What variables of an image matter, besides those that begin with NVIDIA_.
OTHERS = ("CUDA_VERSION", "LD_LIBRARY_PATH", "LD_PRELOAD")


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a create would do: ``failure`` is the error that it would end with."""

    asked: Request
    admitted: Admitted
    sources: list[Source] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)
    failure: NvidiaRuntimeError | None = None


def answer(image: Image, compiled: Snapshot) -> Answer:
    """Go through a create, up to the edits of config.json."""
    bundle = _bundle(image)
    result = Answer(asked=Request(), admitted=Admitted((), ""))
    # An image that says nothing has no documents that could be unreadable.
    configuration = image.configuration or {"config": {}}
    said = images.of_configuration(configuration, image.annotations)
    try:
        result.asked = create.asked_for(bundle, "", compiled.settings, said)
        result.admitted = find.admit(result.asked, compiled, RUNTIME)
        result.sources = find.sources(bundle, result.asked, result.admitted, compiled)
        result.edits = find.edits(result.sources, bundle, _runtime(compiled.settings))
    except NvidiaRuntimeError as error:
        result.failure = error
    return result


def variables(image: Image) -> dict[str, str]:
    """Return what an image says that matters to us; of a repeated name the last counts."""
    pairs = [entry.partition("=") for entry in image.environment]
    return {
        name: value
        for name, equals, value in pairs
        if equals and (name.startswith("NVIDIA_") or name in OTHERS)
    }


def required(environment: dict[str, str]) -> tuple[str, str]:
    """Judge what an image requires, whoever asks for devices: the verdict's kind, and a sentence.

    Both are empty where it requires nothing.
    """
    wanted = requirements.read(environment)
    if not wanted:
        is_off = environment.get(requirements.DISABLE) and request.has_requirements(environment)
        return (OFF, f"{requirements.DISABLE} is set") if is_off else ("", "")
    host = facts.read()
    verdict = requirements.check(wanted, host)
    has = ", ".join(f"{name} {value}" for name, value in host.items())
    return verdict.kind, verdict.what or has


def asking_annotations(image: Image, settings: Settings) -> dict[str, str]:
    """Return the annotations that would ask for devices where an engine copies them."""
    prefixes = tuple(settings[request.ANNOTATION_PREFIXES])
    return {
        name: value
        for name, value in image.annotations.items()
        if name.startswith(prefixes) and isinstance(value, str)
    }


def _bundle(image: Image) -> Bundle:
    spec = {
        "ociVersion": "1.1.0",
        "process": {"cwd": "/", "args": ["sh"], "env": image.environment},
        "root": {"path": "rootfs"},
        "linux": {},
    }
    return Bundle(f"image {image.name}", spec, os.stat("/"))


def _runtime(settings: Settings) -> str:
    path = files.environment(b"PATH")
    try:
        return lowlevel.find(settings[f"{RUNTIME}.runtimes"], path, "")
    except NvidiaRuntimeError:
        return "runc"
