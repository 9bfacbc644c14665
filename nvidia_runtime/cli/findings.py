# SPDX-License-Identifier: Apache-2.0
"""Findings in a document: errors, warnings and notes, each with its place.

A JSON Schema reports all its errors.  The hand-written checks stop at the first one, so they are
repeated, each time with the last error repaired.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from nvidia_runtime import schemas
from nvidia_runtime.cdi import fields, versions, yaml_document
from nvidia_runtime.cdi import spec as cdi_spec
from nvidia_runtime.cli import screen
from nvidia_runtime.errors import NvidiaRuntimeError

COLOURS = {"error": screen.RED, "warning": screen.YELLOW, "note": screen.CYAN}
MOST = 100
FORMS = {"devices": "device", "containerEdits": "edits"}
UNKNOWN_KEY = re.compile(r"unknown key '([^']*)'")
STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
# Valid values that replace what a check refused, where the document needs a value.
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
    """A message about a file; ``path`` is the place in it, "" for the file itself."""

    severity: str
    file: str
    path: str = ""
    message: str

    def __str__(self) -> str:
        """Return one line that begins with the severity."""
        where = f"{self.file}: {self.path}" if self.path else self.file
        return f"{self.severity}: {where}: {self.message}"


def show(findings: list[Finding], files: list[str], *, as_json: bool) -> int:
    """Print findings as text or JSON, and return the number of errors."""
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        entries = [asdict(finding) for finding in findings]
        screen.print_json({"valid": not errors, "files": files, "findings": entries})
    else:
        for finding in findings:
            severity, _, rest = str(finding).partition(":")
            print(screen.painted(f"{severity}:", COLOURS[severity]) + rest)
    return errors


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def of_schema(schema: str, document: object, file: str) -> list[Finding]:
    """Return the violations of a schema; without jsonschema there are none."""
    try:
        violations = schemas.violations(schema, document)
    except ImportError:
        return []
    return [Finding(severity="error", file=file, path=v.path, message=v.what) for v in violations]


def of_error(error: NvidiaRuntimeError, file: str) -> Finding:
    """Convert an error whose place begins with the file."""
    path = error.where.removeprefix(file).removeprefix(": ")
    return Finding(severity="error", file=file, path=path, message=error.what)


def of_cdi_spec(data: bytes, file: str) -> list[Finding]:
    """Return all errors of a CDI spec; one that cannot be decoded has just one."""
    first = _first_error(data, file)
    if first is None or not first.path:
        return [first] if first else []
    document = _decoded(data, file)
    findings = of_schema("cdi", normalised(document, "spec"), file)
    reported = {_place(finding) for finding in findings}
    checked = _of_checks(document, file)
    findings += [finding for finding in checked if _place(finding) not in reported]
    places = schemas.in_document_order([_place(finding) for finding in findings], document)
    order = {place: number for number, place in enumerate(places)}
    return sorted(findings, key=lambda finding: order[_place(finding)])


def _place(finding: Finding) -> tuple[str | int, ...]:
    """Return the steps to an error; a schema reports an unknown key at the object with it."""
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
    """Decode a spec that is known to be decodable, without checks."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return yaml_document.load(data, file, cdi_spec.MOST_VALUES)


def _of_checks(document: Any, file: str) -> list[Finding]:
    """Repeat the hand-written checks until there are no more errors."""
    findings: dict[str, Finding] = {}
    repaired = copy.deepcopy(document)
    while len(findings) < MOST:
        finding = _first_error(json.dumps(repaired).encode(), file)
        if finding is None or finding.path in findings or not _repair(repaired, finding.path):
            break
        findings[finding.path] = finding
    return list(findings.values())


def _repair(document: Any, path: str) -> bool:
    """Replace a value by a valid one, or remove an optional one; indices stay as they are."""
    *steps, last = _steps(path) or ("",)
    parent: Any = document
    for step in steps:
        try:
            parent = parent[step]
        except (KeyError, IndexError, TypeError):
            return False  # the name of an annotation contains a dot
    if isinstance(last, int):
        parent[last] = _item(steps[-1], last)
        return True
    # An object's required fields are those of an item of its list, or of the document.
    needed = _item(steps[-2], steps[-1]) if steps and isinstance(steps[-1], int) else {}
    needed = needed if steps else DOCUMENT
    if last in needed:
        parent[last] = copy.deepcopy(needed[last])
    else:
        parent.pop(last, None)
    return True


def _item(name: str | int, index: str | int) -> Any:
    """Return a valid item of a list; a device gets a unique name."""
    item = copy.deepcopy(ITEMS.get(str(name), "a"))
    return {**item, "name": f"refused-{index}"} if name == "devices" else item


def normalised(value: Any, form: str) -> Any:
    """Return part of a CDI spec with scalars of the types that readers expect: YAML's 0 is "0".

    Values of a wrong type stay for the schema to report.
    """
    if isinstance(value, list):
        return [normalised(item, form) for item in value]
    if not isinstance(value, dict):
        return value
    types = fields.FIELDS[form]
    return {key: _normalised_field(key, item, types.get(key, "")) for key, item in value.items()}


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
