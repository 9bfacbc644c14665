# SPDX-License-Identifier: Apache-2.0
"""A spec of GPUs that share the CPU's page tables and of such that do not: one spec for each kind.

Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime.generate import assemble
from nvidia_runtime.generate.nvml import COHERENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options

    Spec = dict[str, Any]
    Device = dict[str, Any]

# In names of files and classes, by what the annotation says.
SUFFIXES = {"true": "coherent", "false": "noncoherent"}


def split(spec: Spec, options: Options) -> dict[str, Spec]:
    """Return the specs to write by their suffix: "" is all devices, the others have one kind each.

    Without annotations there is nothing to split.  None of them has annotations afterwards.
    """
    devices = spec["devices"]
    annotated = {value for each in devices if (value := _coherence(each))}
    specs = {"": _spec(spec, [_plain(each) for each in devices], options)}
    for value, suffix in SUFFIXES.items():
        if value in annotated:
            own = [_plain(each) for each in devices if _coherence(each) == value]
            kind = options.but(device_class=f"{options.device_class}.{suffix}")
            specs[suffix] = _spec(spec, own, kind)
    return specs


def _spec(spec: Spec, devices: list[Device], options: Options) -> Spec:
    common = {**spec["containerEdits"], "env": _without_void(spec["containerEdits"])}
    return assemble.spec(options, devices, common)


def _without_void(edits: dict[str, Any]) -> list[str]:
    return [each for each in edits.get("env", ()) if each != assemble.VOID]


def _coherence(device: Device) -> str:
    return str(device.get("annotations", {}).get(COHERENT, ""))


def _plain(device: Device) -> Device:
    return {name: value for name, value in device.items() if name != "annotations"}
