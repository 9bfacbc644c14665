# SPDX-License-Identifier: Apache-2.0
"""Container edits: from the form of a CDI spec to that of the runtime-spec.

The snapshot keeps the result, which is what `oci.edit.apply` takes but for the device nodes:
`sources.specs.fill_nodes` completes those from the host at every create.
"""

from __future__ import annotations

from nvidia_runtime.prepare import verbs
from nvidia_runtime.start import TOOLKIT_HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Edits = dict[str, Any]


def prepare(edits: Edits) -> Edits:
    """Return a spec's edits in the runtime-spec's form; what is empty is left out.

    But for intelRdt: an empty one takes the place of an earlier one.
    """
    hooks: dict[str, list[Edits]] = {}
    for hook in edits.get("hooks") or ():
        hooks.setdefault(hook["hookName"], []).append(_hook(hook))
    prepared = {
        "env": list(edits.get("env") or ()),
        "devices": [_pick(node, NODE) for node in edits.get("deviceNodes") or ()],
        "mounts": [_mount(mount) for mount in edits.get("mounts") or ()],
        "hooks": hooks,
        "additionalGids": [gid for gid in edits.get("additionalGids") or () if gid],
        "intelRdt": _pick(edits.get("intelRdt") or {}, RDT),
        "netDevices": {
            device["hostInterfaceName"]: {"name": device["name"]}
            for device in edits.get("netDevices") or ()
        },
    }
    if edits.get("intelRdt") is None:
        del prepared["intelRdt"]
    return {name: value for name, value in prepared.items() if value or name == "intelRdt"}


HOOK = ("path", "args", "env", "timeout")
NODE = ("path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid")
RDT = (
    "closID",
    "l3CacheSchema",
    "memBwSchema",
    "schemata",
    "enableMonitoring",
    "enableCMT",
    "enableMBM",
)


def _pick(source: Edits, keys: tuple[str, ...]) -> Edits:
    """Return the fields that are set; Go's decoder does not tell empty from absent."""
    unset: tuple[object, ...] = (None, "", [])
    return {key: source[key] for key in keys if key in source and source[key] not in unset}


def _hook(hook: Edits) -> Edits:
    """Return a hook; one of the toolkit's always gets an environment of its own.

    runc before 1.3 would give it the container's, LD_PRELOAD included (CVE-2025-23266), and specs
    that were generated before that was known are still in use.
    """
    picked = _pick(hook, HOOK)
    if "env" not in picked and hook["path"].rpartition("/")[2] in TOOLKIT_HOOKS:
        picked["env"] = list(verbs.ENVIRONMENT)
    return picked


def _mount(mount: Edits) -> Edits:
    result: Edits = {"destination": mount["containerPath"], "source": mount["hostPath"]}
    if mount.get("type"):
        result["type"] = mount["type"]
    if mount.get("options"):
        result["options"] = mount["options"]
    return result
