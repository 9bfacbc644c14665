# SPDX-License-Identifier: Apache-2.0
"""One CDI spec file: read as JSON or YAML, checked by hand-written rules (CDI SPEC.md 1.1.0).

The checks name the first error with its place; `schemas` lists all.  Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime import document
from nvidia_runtime.cdi import names
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci.edit import STAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Spec = dict[str, Any]

LARGEST = 8 << 20
# Aliases of a YAML file count each time: a small file can describe a huge document.
MOST_VALUES = 300_000
VERSIONS = (
    "0.1.0",
    "0.2.0",
    "0.3.0",
    "0.4.0",
    "0.5.0",
    "0.6.0",
    "0.7.0",
    "0.8.0",
    "1.0.0",
    "1.1.0",
)

FIELDS = {
    "spec": {
        "cdiVersion": "string",
        "kind": "string",
        "annotations": "strings by name",
        "devices": "list",
        "containerEdits": "object",
    },
    "device": {"name": "string", "annotations": "strings by name", "containerEdits": "object"},
    "edits": {
        "env": "list of strings",
        "deviceNodes": "list",
        "mounts": "list",
        "hooks": "list",
        "additionalGids": "list of numbers",
        "intelRdt": "object",
        "netDevices": "list",
    },
    "deviceNodes": {
        "path": "string",
        "hostPath": "string",
        "type": "string",
        "major": "number",
        "minor": "number",
        "fileMode": "number",
        "permissions": "string",
        "uid": "number",
        "gid": "number",
    },
    "mounts": {
        "hostPath": "string",
        "containerPath": "string",
        "options": "list of strings",
        "type": "string",
    },
    "hooks": {
        "hookName": "string",
        "path": "string",
        "args": "list of strings",
        "env": "list of strings",
        "timeout": "number",
    },
    "intelRdt": {
        "closID": "string",
        "l3CacheSchema": "string",
        "memBwSchema": "string",
        "schemata": "list of strings",
        "enableMonitoring": "boolean",
        "enableCMT": "boolean",
        "enableMBM": "boolean",
    },
    "netDevices": {"hostInterfaceName": "string", "name": "string"},
}
# A major or minor of -1 would mean any in a device cgroup rule.
UNSIGNED = ("fileMode", "uid", "gid", "additionalGids")
NOT_NEGATIVE = ("major", "minor")


def parse(data: bytes, path: str) -> Spec:
    """Decode and check the contents of a spec file; every file is read as YAML, as others do."""
    if len(data) > LARGEST:
        raise NvidiaRuntimeError(f"is too large: the limit is {LARGEST} bytes", path)
    spec = _decode(data, path)
    if not isinstance(spec, dict):
        what = "has no CDI spec in it" if spec is None else "must be an object"
        raise NvidiaRuntimeError(what, path)
    try:
        check(spec)
    except _InvalidError as error:
        raise NvidiaRuntimeError(error.what, f"{path}: {error.place}") from None
    return spec


class _InvalidError(Exception):
    """A place in a document and what is wrong there."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(what)
        self.place = place
        self.what = what


def _decode(data: bytes, path: str) -> object:
    import json

    if data[:1] == b"{":
        try:
            return json.loads(data, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            pass  # YAML may accept it
    load = _yaml_loader(path)
    try:
        return load(data, path, MOST_VALUES)
    except NvidiaRuntimeError:
        what = document.complaint(data) if path.endswith(".json") else ""
        if "column" in what:  # who wrote JSON is not helped by what YAML thinks of it
            raise NvidiaRuntimeError(what, path) from None
        raise


def _yaml_loader(path: str) -> Callable[[bytes, str, int], object]:
    """Load PyYAML, only for what is no JSON; without it the runtime still works."""
    for has_site in (False, True):
        try:
            from nvidia_runtime.cdi import yaml_document
        except ImportError:
            if not has_site:
                import site

                site.main()  # the launcher's -S left out where Debian's python3-yaml is
        else:
            return yaml_document.load
    what = "is no JSON, and to read it as YAML the Python package PyYAML is missing"
    raise NvidiaRuntimeError(what, path)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse repeated keys: another reader may take the other value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated key")
    return found


def check(spec: Spec) -> None:
    """Check a decoded spec, and bring scalars of YAML to the types that CDI gives them."""
    _fields(spec, "spec", "")
    version = spec.get("cdiVersion") or ""
    if version.removeprefix("v") not in VERSIONS:
        raise _InvalidError("cdiVersion", f"{version!r} is no known CDI version")
    if complaint := names.kind_complaint(spec.get("kind") or ""):
        raise _InvalidError("kind", complaint)
    devices = spec.get("devices") or []
    if not devices:
        raise _InvalidError("devices", "has no device")
    seen: set[str] = set()
    for index, device in enumerate(devices):
        place = f"devices[{index}]"
        _object(device, place)
        _fields(device, "device", f"{place}.")
        name = device.get("name") or ""
        if complaint := names.device_complaint(name):
            raise _InvalidError(f"{place}.name", complaint)
        if name in seen:
            raise _InvalidError(f"{place}.name", f"device {name!r} is there twice")
        seen.add(name)
        edits = device.get("containerEdits") or {}
        _check_edits(edits, f"{place}.containerEdits")
        if not any(edits.values()) and edits.get("intelRdt") is None:
            raise _InvalidError(f"{place}.containerEdits", "is empty: a device must edit something")
    _check_edits(spec.get("containerEdits") or {}, "containerEdits")
    least = minimum_version(spec)
    if VERSIONS.index(version.removeprefix("v")) < VERSIONS.index(least):
        raise _InvalidError(
            "cdiVersion", f"is {version}, but what the spec has in it needs {least}"
        )


def _check_edits(edits: Spec, place: str) -> None:
    _fields(edits, "edits", f"{place}.")
    for index, entry in enumerate(edits.get("env") or ()):
        if entry.find("=") < 1:
            raise _InvalidError(f"{place}.env[{index}]", f"{entry!r} is not NAME=VALUE")
    for name in ("deviceNodes", "mounts", "hooks", "netDevices"):
        for index, item in enumerate(edits.get(name) or ()):
            where = f"{place}.{name}[{index}]"
            _object(item, where)
            _fields(item, name, f"{where}.")
            _RULES[name](item, where)
    rdt = edits.get("intelRdt")
    if rdt:
        _fields(rdt, "intelRdt", f"{place}.intelRdt.")
        identity = rdt.get("closID") or ""
        odd = identity in (".", "..") or "\n" in identity or ("/" in identity and identity != "/")
        if odd or len(identity) >= 4096:
            raise _InvalidError(f"{place}.intelRdt.closID", f"{identity!r} is no name of a group")


def _check_node(node: Spec, place: str) -> None:
    if not node.get("path"):
        raise _InvalidError(f"{place}.path", "is missing")
    kind = node.get("type") or ""
    if kind not in ("", "b", "c", "u", "p"):
        raise _InvalidError(f"{place}.type", f"{kind!r} is not one of b, c, u, p")
    permissions = node.get("permissions") or ""
    if set(permissions) - set("rwm"):
        raise _InvalidError(f"{place}.permissions", f"{permissions!r} must be letters of rwm")


def _check_mount(mount: Spec, place: str) -> None:
    for name in ("hostPath", "containerPath"):
        if not mount.get(name):
            raise _InvalidError(f"{place}.{name}", "is missing")


def _check_hook(hook: Spec, place: str) -> None:
    if hook.get("hookName") not in STAGES:
        what = f"{hook.get('hookName')!r} is not one of {', '.join(STAGES)}"
        raise _InvalidError(f"{place}.hookName", what)
    if not hook.get("path"):
        raise _InvalidError(f"{place}.path", "is missing")
    for index, entry in enumerate(hook.get("env") or ()):
        if entry.find("=") < 1:
            raise _InvalidError(f"{place}.env[{index}]", f"{entry!r} is not NAME=VALUE")


def _check_net_device(device: Spec, place: str) -> None:
    for name in ("hostInterfaceName", "name"):
        if not device.get(name):
            raise _InvalidError(f"{place}.{name}", "is missing")


_RULES = {
    "deviceNodes": _check_node,
    "mounts": _check_mount,
    "hooks": _check_hook,
    "netDevices": _check_net_device,
}


def minimum_version(spec: Spec) -> str:
    """Return the oldest CDI version that has all that a spec uses (SPEC.md, "Versions")."""
    devices = spec.get("devices") or []
    parts = [spec.get("containerEdits") or {}]
    parts += [device.get("containerEdits") or {} for device in devices]
    for version, is_needed in NEEDS:
        if is_needed(spec, devices, parts):
            return version
    return "0.3.0"


def _needs_1_1_0(_spec: Spec, _devices: list[Spec], parts: list[Spec]) -> bool:
    return any(
        part.get("netDevices")
        or (part.get("intelRdt") or {}).get("schemata")
        or (part.get("intelRdt") or {}).get("enableMonitoring")
        for part in parts
    )


def _needs_0_7_0(_spec: Spec, _devices: list[Spec], parts: list[Spec]) -> bool:
    return any(part.get("intelRdt") or part.get("additionalGids") for part in parts)


def _needs_0_6_0(spec: Spec, devices: list[Spec], _parts: list[Spec]) -> bool:
    annotated = spec.get("annotations") or any(device.get("annotations") for device in devices)
    return bool(annotated) or "." in spec["kind"].partition("/")[2]


def _needs_0_5_0(_spec: Spec, devices: list[Spec], parts: list[Spec]) -> bool:
    if any(device["name"][0] not in names.LETTERS for device in devices):
        return True
    return any(node.get("hostPath") for part in parts for node in part.get("deviceNodes") or ())


def _needs_0_4_0(_spec: Spec, _devices: list[Spec], parts: list[Spec]) -> bool:
    return any(mount.get("type") for part in parts for mount in part.get("mounts") or ())


NEEDS = (
    ("1.1.0", _needs_1_1_0),
    ("0.7.0", _needs_0_7_0),
    ("0.6.0", _needs_0_6_0),
    ("0.5.0", _needs_0_5_0),
    ("0.4.0", _needs_0_4_0),
)


def _object(value: object, place: str) -> None:
    if not isinstance(value, dict):
        raise _InvalidError(place, f"must be an object, not {_kind(value)}")


def _fields(item: Spec, form: str, place: str) -> None:
    """Check names and types of an object's fields; a null is as good as nothing."""
    known = FIELDS[form]
    for name, value in item.items():
        wanted = known.get(name)
        if wanted is None:
            raise _InvalidError(f"{place}{name}", "is no field of a CDI spec")
        if value is not None:
            item[name] = _typed(value, wanted, f"{place}{name}", _range(name))


def _range(name: str) -> tuple[int, int]:
    if name in UNSIGNED:
        return 0, 1 << 32
    return (0 if name in NOT_NEGATIVE else -(1 << 63)), 1 << 63


def _typed(value: Any, wanted: str, place: str, limits: tuple[int, int]) -> Any:
    if wanted == "string":
        return _string(value, place)
    if wanted == "number":
        return _number(value, place, limits)
    if wanted == "boolean":
        if not isinstance(value, bool):
            raise _InvalidError(place, f"must be true or false, not {_kind(value)}")
        return value
    if wanted in ("object", "strings by name"):
        _object(value, place)
        if wanted == "object":
            return value
        return {key: _string(item, f"{place}.{key}") for key, item in value.items()}
    if not isinstance(value, list):
        raise _InvalidError(place, f"must be a list, not {_kind(value)}")
    if wanted == "list of strings":
        return [_string(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if wanted == "list of numbers":
        return [_number(item, f"{place}[{index}]", limits) for index, item in enumerate(value)]
    return value


def _string(value: Any, place: str) -> str:
    """Take a string; YAML's bare numbers and booleans count as their text, a null as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise _InvalidError(place, f"must be a string, not {_kind(value)}")
    return value


def _number(value: Any, place: str, limits: tuple[int, int]) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # YAML's 5.0
    if isinstance(value, bool) or not isinstance(value, int):
        raise _InvalidError(place, f"must be a whole number, not {_kind(value)}")
    if not limits[0] <= value < limits[1]:
        raise _InvalidError(place, f"is out of range: {value}")
    return value


def _kind(value: object) -> str:
    names_ = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names_.get(type(value), "a number")
