# SPDX-License-Identifier: Apache-2.0
"""From edits to a CDI spec: nothing twice, in the toolkit's order, of the version that it needs."""

from __future__ import annotations

from nvidia_runtime.cdi import names
from nvidia_runtime.cdi import versions as cdi_versions
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import entries, hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nvidia_runtime.generate.options import Options

    Spec = dict[str, Any]
    Device = dict[str, Any]
    Edits = dict[str, Any]

ALL = "all"
# The prestart hook of another runtime on the same host then leaves the container alone.
VOID = "NVIDIA_VISIBLE_DEVICES=void"
# Tells programs in the container that there is a driver but no GPU.
EMPTY = "NVCT_EMPTY_DEVICE="
# In the order in which the toolkit writes them.
FIELDS = ("env", "deviceNodes", "netDevices", "hooks", "mounts", "intelRdt", "additionalGids")
OLDEST = "0.3.0"


def device(name: str, edits: Edits, annotations: dict[str, str] | None = None) -> Device:
    """Return the entry of a device."""
    entry: Device = {"name": name}
    if annotations:
        entry["annotations"] = annotations
    return entry | {"containerEdits": edits}


def merge(parts: Iterable[Edits]) -> Edits:
    """Return edits one after the other, without repeating any."""
    merged: Edits = {}
    for part in parts:
        for field, values in part.items():
            present = merged.setdefault(field, [])
            present += [value for value in values if value not in present]
    return merged


def spec(
    options: Options, devices: list[Device], common: Edits, disabled: frozenset[str] = frozenset()
) -> Spec:
    """Assemble a spec; ``disabled`` are hooks that the mode must not have.

    Raises `NvidiaRuntimeError` for a kind or a device that readers of CDI would refuse.
    """
    kind = f"{options.vendor}/{options.device_class}"
    if complaint := names.kind_complaint(kind):
        raise NvidiaRuntimeError(complaint, where=f"kind {kind!r}")
    shared = _sorted(_wanted(merge([common, {"env": [VOID]}]), options, disabled))
    own = [_own(entry, shared, options, disabled) for entry in devices]
    if options.merged_device and own and all(entry["name"] != ALL for entry in own):
        own.append(device(ALL, _sorted(merge(entry["containerEdits"] for entry in own))))
    _check(own)
    if options.combine_hooks:
        shared = _combined(shared)
        own = [{**entry, "containerEdits": _combined(entry["containerEdits"])} for entry in own]
    result: Spec = {"cdiVersion": OLDEST, "kind": kind}
    result["devices"] = sorted(own, key=lambda entry: str(entry["name"]))
    result["containerEdits"] = shared
    result["cdiVersion"] = _version(result, options.spec_version)
    return result


def finish(entry: Device, common: Edits, options: Options) -> Device:
    """Return a device as `spec` would write it beside these common edits."""
    return _own(entry, common, options, frozenset())


def _own(entry: Device, common: Edits, options: Options, disabled: frozenset[str]) -> Device:
    """Leave out what every container gets, unless the device would then have no edits."""
    edits = _wanted(merge([entry["containerEdits"]]), options, disabled)
    rest = {
        field: [value for value in values if value not in common.get(field, ())]
        for field, values in edits.items()
    }
    kept = edits if not any(rest.values()) else rest
    return {**entry, "containerEdits": _sorted(kept)}


def _wanted(edits: Edits, options: Options, disabled: frozenset[str]) -> Edits:
    """Leave out disabled hooks."""
    chosen = [
        entry
        for entry in edits.get("hooks", ())
        if hooks.verb(entry) not in disabled
        and hooks.is_enabled(hooks.verb(entry), options.disabled_hooks, options.enabled_hooks)
    ]
    return {**edits, "hooks": chosen}


def _combined(edits: Edits) -> Edits:
    return {**edits, "hooks": hooks.combine(edits["hooks"])} if "hooks" in edits else edits


def _sorted(edits: Edits) -> Edits:
    """Sort nodes, mounts and groups; the order of variables and hooks has a meaning."""
    ordered = dict(edits)
    ordered["deviceNodes"] = sorted(
        edits.get("deviceNodes", ()), key=lambda node: entries.by_depth(node["path"])
    )
    ordered["mounts"] = sorted(
        edits.get("mounts", ()), key=lambda mount: entries.by_depth(mount["containerPath"])
    )
    ordered["additionalGids"] = sorted(edits.get("additionalGids", ()))
    return {field: ordered[field] for field in FIELDS if ordered.get(field)}


def _check(devices: list[Device]) -> None:
    seen = set()
    for entry in devices:
        name = entry["name"]
        if complaint := names.device_complaint(name):
            raise NvidiaRuntimeError(complaint)
        if name in seen:
            raise NvidiaRuntimeError(f"two devices have the name {name!r}")
        if not entry["containerEdits"]:
            raise NvidiaRuntimeError(f"device {name!r} has no edits")
        seen.add(name)


def _version(document: Spec, wanted: str) -> str:
    least = cdi_versions.minimum(document)
    versions = cdi_versions.VERSIONS
    if not wanted:
        return least
    if wanted not in versions:
        hint = f"versions are {', '.join(versions)}"
        raise NvidiaRuntimeError(f"unknown CDI version {wanted!r}", hint=hint)
    if versions.index(wanted) < versions.index(least):
        hint = f"ask for {least}, or leave out what needs it"
        raise NvidiaRuntimeError(f"CDI {wanted} cannot express this spec", hint=hint)
    return wanted
