# SPDX-License-Identifier: Apache-2.0
"""The fields of a CDI spec and their types; a scalar of YAML becomes what CDI takes it for."""

from __future__ import annotations

from nvidia_runtime import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.document import Document

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


class InvalidError(Exception):
    """A place in a document and what is wrong there."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(what)
        self.place = place
        self.what = what


def check_object(value: object, place: str) -> None:
    """Refuse what is not an object."""
    if not isinstance(value, dict):
        raise InvalidError(place, f"must be an object, not {document.kind(value)}")


def check(item: Document, form: str, place: str) -> None:
    """Check the names and types of an object's fields; null counts as absent."""
    types = FIELDS[form]
    for name, value in item.items():
        wanted = types.get(name)
        if wanted is None:
            raise InvalidError(f"{place}{name}", "is not a field of a CDI spec")
        if value is None or (wanted == "string" and type(value) is str):
            continue  # most are, and need no place
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
            raise InvalidError(place, f"must be true or false, not {document.kind(value)}")
        return value
    if wanted in ("object", "strings by name"):
        check_object(value, place)
        if wanted == "object":
            return value
        return {key: _string(item, f"{place}.{key}") for key, item in value.items()}
    if not isinstance(value, list):
        raise InvalidError(place, f"must be a list, not {document.kind(value)}")
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
        raise InvalidError(place, f"must be a string, not {document.kind(value)}")
    return value


def _number(value: Any, place: str, limits: tuple[int, int]) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # YAML's 5.0
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError(place, f"must be a whole number, not {document.kind(value)}")
    if not limits[0] <= value < limits[1]:
        raise InvalidError(place, f"is out of range: {value}")
    return value
