# SPDX-License-Identifier: Apache-2.0
"""Which CDI devices a container gets by the annotations of its pod.

As NVIDIA Container Toolkit has it: the annotation for the container, else the pod's, else the bare
one; names are separated by commas.  Those of the management kind, which are all GPUs with rights to
configure them, are for pods of some namespaces only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvidia_runtime.cdi import names
from nvidia_runtime.errors import NvidiaRuntimeError, short

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "nvidia.cdi.k8s.io"
RIGHTS = "management.nvidia.com/gpu"
MOST_DEVICES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The devices of a container, by which annotation; ``refused`` is why there are none."""

    devices: tuple[str, ...] = ()
    annotation: str = ""
    refused: str = ""


def answer(
    container: str, namespace: str, annotations: Mapping[str, str], trusted: frozenset[str]
) -> Answer:
    """Return what a container of a pod gets; ``trusted`` are the namespaces of management.

    Raises `NvidiaRuntimeError` for a name that cannot be a device's: the engine then says so, and
    does not start the container.
    """
    for name in (f"{PREFIX}/container.{container}", f"{PREFIX}/pod", PREFIX):
        if name in annotations:
            return _answer(name, annotations[name], namespace, trusted)
    return Answer()


def _answer(annotation: str, value: str, namespace: str, trusted: frozenset[str]) -> Answer:
    devices = tuple(filter(None, (word.strip() for word in value.split(","))))
    if RIGHTS in value and namespace not in trusted:
        refused = f"{RIGHTS} is not for pods of namespace {namespace!r}"
        return Answer(annotation=annotation, refused=refused)
    if len(devices) > MOST_DEVICES:
        raise NvidiaRuntimeError(f"more than {MOST_DEVICES} devices", annotation)
    for device in devices:
        if complaint := names.complaint(device):
            raise NvidiaRuntimeError(f"{short(device)!r}: {complaint}", annotation)
    return Answer(devices=tuple(dict.fromkeys(devices)), annotation=annotation)
