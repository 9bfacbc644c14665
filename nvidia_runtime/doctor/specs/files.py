# SPDX-License-Identifier: Apache-2.0
"""The CDI specs of this machine, as the checks look at them."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

from nvidia_runtime.cdi import registry as cdi_registry
from nvidia_runtime.doctor.finding import ERROR, WARNING
from nvidia_runtime.sources import renew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.cdi.registry import Registry, SpecFile
    from nvidia_runtime.doctor.subject import Subject

# The engine that takes GPUs from specs alone.
BY_SPECS = "podman"
VENDOR = "nvidia.com"
# Of which all areas together have little more.
SECONDS = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """All that lies in the spec dirs; ``used`` are the files that at least one device comes from.

    ``is_by_specs`` says that our own runtime takes devices from specs alone, ``others`` which
    engine does, "" for none.
    """

    folders: list[str]
    registry: Registry
    used: list[SpecFile]
    is_by_specs: bool
    others: str

    def weight(self, kind: str, *, is_ours: bool = False) -> tuple[str, str]:
        """Return how much it matters that devices of a kind cannot be used, and to which engine.

        What is ours is written anew by the next create, but no other engine does that.
        """
        if kind == renew.GPU and self.is_by_specs and not is_ours:
            return ERROR, ""
        if kind == renew.GPU and self.others:
            return ERROR, self.others
        return WARNING, ""


class TooManyError(Exception):
    """There are more specs than can be read in the time: how many were, and how many there are."""


def read(subject: Subject, folders: list[str]) -> Specs:
    """Read all specs of some spec dirs.  Raises `TooManyError` where that takes too long."""
    until = time.monotonic() + SECONDS

    def tell(number: int, count: int) -> None:
        if time.monotonic() > until:
            raise TooManyError(number, count)

    registry = cdi_registry.read(folders, tell)
    by_path = {file.path: file for file, _ in registry.devices.values()}
    return Specs(
        folders=folders,
        registry=registry,
        used=list(by_path.values()),
        is_by_specs=subject.mode == "cdi",
        others=BY_SPECS if shutil.which(BY_SPECS) else "",
    )


def is_nvidias(kind: str) -> bool:
    """Whether a kind is one of NVIDIA's devices, whoever writes its specs."""
    return kind.partition("/")[0].endswith(VENDOR)
