# SPDX-License-Identifier: Apache-2.0
"""What is found in a document, all of it: errors, warnings and notes, each with its place.

The JSON Schemas list what they know; the hand-written checks stop at their first error, so they are
asked again and again, each time of a document without what they last named.  Ring: elsewhere.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.cdi import fields as cdi_fields
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cdi import versions, yaml_document
from nvidia_runtime.errors import NvidiaRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 100
FORMS = {"devices": "device", "containerEdits": "edits"}
UNKNOWN_KEY = re.compile(r"unknown key '([^']*)'")
STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
# What a check can go on with in the place of what it refused and the document cannot lack.
DEVICE = {"name": "a", "containerEdits": {"env": ["A=b"]}}
DOCUMENT = {"cdiVersion": versions.VERSIONS[-1], "kind": "a/b", "devices": [DEVICE]}
ITEMS: dict[str, Any] = {
    "devices": DEVICE,
    "deviceNodes": {"path": "/a"},
    "mounts": {"hostPath": "/a", "containerPath": "/a"},
    "hooks": {"hookName": "prestart", "path": "/a"},
    "netDevices": {"hostInterfaceName": "a", "name": "a"},
    "env": "A=b",
    "additionalGids": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A sentence about a file; ``path`` is the place in it, "" for the file itself."""

    severity: str
    file: str
    path: str = ""
    message: str

    def __str__(self) -> str:
        """Return one line, the severity in front, as compilers do."""
        where = f"{self.file}: {self.path}" if self.path else self.file
        return f"{self.severity}: {where}: {self.message}"


def as_json(findings: Iterable[Finding], files: list[str]) -> str:
    """Write findings for a machine."""
    found = [asdict(finding) for finding in findings]
    valid = not any(finding["severity"] == "error" for finding in found)
    return json.dumps({"valid": valid, "files": files, "findings": found}, indent=2)


def counted(number: int, noun: str) -> str:
    """Say how many there are: ``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def of_schema(schema: str, document: object, file: str) -> list[Finding]:
    """List where a document breaks a schema; where jsonschema is not installed, nothing."""
    try:
        violations = schemas.violations(schema, document)
    except ImportError:
        return []
    return [Finding(severity="error", file=file, path=v.path, message=v.what) for v in violations]


def of_error(error: NvidiaRuntimeError, file: str) -> Finding:
    """Turn an error whose place begins with the file into a finding."""
    path = error.where.removeprefix(file).removeprefix(": ")
    return Finding(severity="error", file=file, path=path, message=error.what)


def of_cdi_spec(data: bytes, file: str) -> list[Finding]:
    """List every error of a CDI spec; one that cannot be decoded has just one."""
    first = _first_error(data, file)
    if first is None or not first.path:
        return [first] if first else []
    document = _decoded(data, file)
    found = of_schema("cdi", normalised(document, "spec"), file)
    said = {_place(finding) for finding in found}
    found += [finding for finding in _of_checks(document, file) if _place(finding) not in said]
    places = schemas.in_document_order([_place(finding) for finding in found], document)
    order = {place: number for number, place in enumerate(places)}
    return sorted(found, key=lambda finding: order[_place(finding)])


def _place(finding: Finding) -> tuple[str | int, ...]:
    """Return the steps to what is wrong; the schema speaks of a key at the object that has it."""
    key = UNKNOWN_KEY.match(finding.message)
    return _steps(finding.path) + ((key[1],) if key else ())


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(int(index) if index else key for key, index in STEP.findall(path))


def _first_error(data: bytes, file: str) -> Finding | None:
    try:
        cdi_spec.parse(data, file)
    except NvidiaRuntimeError as error:
        return of_error(error, file)
    return None


def _decoded(data: bytes, file: str) -> Any:
    """Decode what is known to be decodable, without looking at it."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return yaml_document.load(data, file, cdi_spec.MOST_VALUES)


def _of_checks(document: Any, file: str) -> list[Finding]:
    """Ask the hand-written checks until they are content."""
    found: dict[str, Finding] = {}
    left = copy.deepcopy(document)
    while len(found) < MOST:
        finding = _first_error(json.dumps(left).encode(), file)
        if finding is None or finding.path in found or not _repair(left, finding.path):
            break
        found[finding.path] = finding
    return list(found.values())


def _repair(document: Any, path: str) -> bool:
    """Put something valid into a place, or nothing where it may be missing; indices stay."""
    *steps, last = _steps(path) or ("",)
    parent: Any = document
    for step in steps:
        try:
            parent = parent[step]
        except (KeyError, IndexError, TypeError):
            return False  # a name with a dot in it, of an annotation
    if isinstance(last, int):
        parent[last] = _item(steps[-1], last)
        return True
    # The fields that an object needs are those of its list's items, or of the document.
    needed = _item(steps[-2], steps[-1]) if steps and isinstance(steps[-1], int) else {}
    needed = needed if steps else DOCUMENT
    if last in needed:
        parent[last] = copy.deepcopy(needed[last])
    else:
        parent.pop(last, None)
    return True


def _item(name: str | int, index: str | int) -> Any:
    """Return a valid item of a list; a device's name is one that no other has."""
    item = copy.deepcopy(ITEMS.get(str(name), "a"))
    return {**item, "name": f"refused-{index}"} if name == "devices" else item


def normalised(value: Any, form: str) -> Any:
    """Return a CDI spec's scalars the types that its readers give them: YAML's bare 0 is "0".

    What has a wrong shape stays, for the schema to see.
    """
    if isinstance(value, list):
        return [normalised(item, form) for item in value]
    if not isinstance(value, dict):
        return value
    fields = cdi_fields.FIELDS[form]
    return {key: _normalised_field(key, item, fields.get(key, "")) for key, item in value.items()}


def _normalised_field(key: str, value: Any, wanted: str) -> Any:
    if wanted == "string":
        return _text(value)
    if wanted == "list of strings" and isinstance(value, list):
        return ["" if item is None else _text(item) for item in value]
    if wanted == "strings by name" and isinstance(value, dict):
        return {name: "" if item is None else _text(item) for name, item in value.items()}
    if wanted in ("list", "object"):
        return normalised(value, FORMS.get(key, key))
    return value


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value
