# SPDX-License-Identifier: Apache-2.0
"""One CDI spec file: read as JSON or YAML, checked by hand-written rules (CDI SPEC.md 1.1.0).

The checks name the first error with its place; `schemas` lists all.
"""

from __future__ import annotations

from nvidia_runtime import document
from nvidia_runtime.cdi import fields, names, versions
from nvidia_runtime.cdi.fields import InvalidError
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci.edit import NO_ACCESS, STAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Spec = dict[str, Any]

LARGEST = 8 << 20
# Aliases of a YAML file count each time: a small file can describe a huge document.
MOST_VALUES = 300_000


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
    except InvalidError as error:
        raise NvidiaRuntimeError(error.what, f"{path}: {error.place}") from None
    return spec


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
        if "column" in what:  # of a JSON file YAML's complaint does not help
            raise NvidiaRuntimeError(what, path) from None
        raise


def _yaml_loader(path: str) -> Callable[[bytes, str, int], object]:
    """Load PyYAML, only for what is not JSON; without it the runtime still works."""
    for has_site in (False, True):
        try:
            from nvidia_runtime.cdi import yaml_document
        except ImportError:
            if not has_site:
                import site

                site.main()  # the launcher's -S left out where Debian's python3-yaml is
        else:
            return yaml_document.load
    what = "is not JSON, and to read it as YAML the Python package PyYAML is missing"
    raise NvidiaRuntimeError(what, path)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse repeated keys: another reader may take the other value."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("repeated key")
    return mapping


def check(spec: Spec) -> None:
    """Check a decoded spec, and bring scalars of YAML to the types that CDI gives them."""
    fields.check(spec, "spec", "")
    version = spec.get("cdiVersion") or ""
    if version.removeprefix("v") not in versions.VERSIONS:
        raise InvalidError("cdiVersion", f"{version!r} is not a known CDI version")
    if complaint := names.kind_complaint(spec.get("kind") or ""):
        raise InvalidError("kind", complaint)
    devices = spec.get("devices") or []
    if not devices:
        raise InvalidError("devices", "has no device")
    earlier: set[str] = set()
    for index, device in enumerate(devices):
        place = f"devices[{index}]"
        fields.check_object(device, place)
        fields.check(device, "device", f"{place}.")
        name = device.get("name") or ""
        if complaint := names.device_complaint(name):
            raise InvalidError(f"{place}.name", complaint)
        if name in earlier:
            raise InvalidError(f"{place}.name", f"device {name!r} is there twice")
        earlier.add(name)
        edits = device.get("containerEdits") or {}
        _check_edits(edits, f"{place}.containerEdits")
        if not any(edits.values()) and edits.get("intelRdt") is None:
            raise InvalidError(f"{place}.containerEdits", "is empty: a device must edit something")
    _check_edits(spec.get("containerEdits") or {}, "containerEdits")
    least = versions.minimum(spec)
    if versions.is_older(version, least):
        what = f"is {version}, but what the spec has in it needs {least}"
        raise InvalidError("cdiVersion", what)


def _check_edits(edits: Spec, place: str) -> None:
    fields.check(edits, "edits", f"{place}.")
    _check_env(edits, place)
    for name, check_item in _RULES.items():
        for index, item in enumerate(edits.get(name) or ()):
            where = f"{place}.{name}[{index}]"
            fields.check_object(item, where)
            fields.check(item, name, f"{where}.")
            check_item(item, where)
    _check_repeated(edits.get("netDevices") or (), f"{place}.netDevices")
    rdt = edits.get("intelRdt")
    if rdt:
        fields.check(rdt, "intelRdt", f"{place}.intelRdt.")
        identity = rdt.get("closID") or ""
        odd = identity in (".", "..") or "\n" in identity or ("/" in identity and identity != "/")
        if odd or len(identity) >= 4096:
            what = f"{identity!r} is not a name of a group"
            raise InvalidError(f"{place}.intelRdt.closID", what)


def _check_env(item: Spec, place: str) -> None:
    for index, entry in enumerate(item.get("env") or ()):
        if entry.find("=") < 1:
            raise InvalidError(f"{place}.env[{index}]", f"{entry!r} is not NAME=VALUE")


def _require(item: Spec, place: str, *keys: str) -> None:
    for key in keys:
        if not item.get(key):
            raise InvalidError(f"{place}.{key}", "is missing")


def _check_node(node: Spec, place: str) -> None:
    _require(node, place, "path")
    kind = node.get("type") or ""
    if kind not in ("", "b", "c", "u", "p"):
        raise InvalidError(f"{place}.type", f"{kind!r} is not one of b, c, u, p")
    permissions = node.get("permissions") or ""
    if permissions != NO_ACCESS and set(permissions) - set("rwm"):
        what = f"{permissions!r} must be letters of rwm, or {NO_ACCESS}"
        raise InvalidError(f"{place}.permissions", what)


def _check_mount(mount: Spec, place: str) -> None:
    _require(mount, place, "hostPath", "containerPath")


def _check_hook(hook: Spec, place: str) -> None:
    if hook.get("hookName") not in STAGES:
        what = f"{hook.get('hookName')!r} is not one of {', '.join(STAGES)}"
        raise InvalidError(f"{place}.hookName", what)
    _require(hook, place, "path")
    _check_env(hook, place)


def _check_net_device(device: Spec, place: str) -> None:
    _require(device, place, "hostInterfaceName", "name")


def _check_repeated(devices: Sequence[Spec], place: str) -> None:
    """Refuse two names for one interface, and one for two."""
    for key in ("hostInterfaceName", "name"):
        seen: dict[str, int] = {}
        for index, device in enumerate(devices):
            first = seen.setdefault(device[key], index)
            if first != index and "%" not in device[key]:  # eth%d is a name for any number
                what = f"{device[key]!r} is that of netDevices[{first}] already"
                raise InvalidError(f"{place}[{index}].{key}", what)


_RULES = {
    "deviceNodes": _check_node,
    "mounts": _check_mount,
    "hooks": _check_hook,
    "netDevices": _check_net_device,
}
