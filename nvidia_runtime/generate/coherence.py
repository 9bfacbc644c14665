# SPDX-License-Identifier: Apache-2.0
"""One spec for GPUs that share the CPU's page tables, and one for those that do not."""

from __future__ import annotations

from nvidia_runtime.generate import assemble
from nvidia_runtime.generate.nvml import COHERENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options

    Spec = dict[str, Any]
    Device = dict[str, Any]

# Of file names and classes, by the value of the annotation.
SUFFIXES = {"true": "coherent", "false": "noncoherent"}


def split(spec: Spec, options: Options) -> dict[str, Spec]:
    """Return the specs to write by their suffix: "" has all devices, the others one kind each.

    Without annotations there is only the first.  The specs have no annotations.
    """
    devices = spec["devices"]
    annotated = {value for device in devices if (value := _coherence(device))}
    if not annotated:
        return {"": spec}
    specs = {"": _spec(spec, [_plain(device) for device in devices], options)}
    for value, suffix in SUFFIXES.items():
        if value in annotated:
            own = [_plain(device) for device in devices if _coherence(device) == value]
            kind = options.but(device_class=f"{options.device_class}.{suffix}")
            specs[suffix] = _spec(spec, own, kind)
    return specs


def _spec(spec: Spec, devices: list[Device], options: Options) -> Spec:
    common = {**spec["containerEdits"], "env": _without_void(spec["containerEdits"])}
    return assemble.spec(options, devices, common)


def _without_void(edits: dict[str, Any]) -> list[str]:
    return [variable for variable in edits.get("env", ()) if variable != assemble.VOID]


def _coherence(device: Device) -> str:
    return str(device.get("annotations", {}).get(COHERENT, ""))


def _plain(device: Device) -> Device:
    return {name: value for name, value in device.items() if name != "annotations"}
