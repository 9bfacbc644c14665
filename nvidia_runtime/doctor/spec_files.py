# SPDX-License-Identifier: Apache-2.0
"""The CDI specs of this machine, as the checks look at them."""

from __future__ import annotations

import shutil
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """All that lies in the spec dirs; ``used`` are the files that at least one device comes from.

    ``needs`` says for which engine no spec is the end of GPUs: "" for all, ``None`` for none.
    """

    folders: list[str]
    registry: Registry
    used: list[SpecFile]
    needs: str | None

    def weight(self, kind: str, *, is_ours: bool = False) -> tuple[str, str]:
        """Return how much it matters that devices of a kind cannot be used, and to which engine.

        What is ours is written anew by the next create, but no other engine does that.
        """
        if kind != renew.GPU or self.needs is None or (is_ours and not self.needs):
            return WARNING, ""
        return ERROR, self.needs


def read(subject: Subject, folders: list[str]) -> Specs:
    """Read all specs of some spec dirs."""
    registry = cdi_registry.read(folders)
    by_path = {file.path: file for file, _ in registry.devices.values()}
    has_podman = bool(shutil.which(BY_SPECS))
    return Specs(
        folders=folders,
        registry=registry,
        used=list(by_path.values()),
        needs="" if subject.mode == "cdi" else BY_SPECS if has_podman else None,
    )


def is_nvidias(kind: str) -> bool:
    """Whether a kind is one of NVIDIA's devices, whoever writes its specs."""
    return kind.partition("/")[0].endswith(VENDOR)
