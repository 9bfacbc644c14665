# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk spec validate: all errors of a container's config.json."""

from __future__ import annotations

import copy
import os

from nvidia_runtime import document
from nvidia_runtime.admission import request
from nvidia_runtime.cli import files, findings
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.cli.tables import containers as tables
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle, edit
from nvidia_runtime.store.snapshot import VOLUME_MOUNTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# One edit of each kind: a field that is edited must have the type of the specification.
EDITS: list[dict[str, Any]] = [
    {"env": ["A=b"]},
    {"devices": [{"path": "/a", "type": "c", "major": 1, "minor": 3}]},
    {"mounts": [{"source": "/a", "destination": "/a"}]},
    {"hooks": {stage: [{"path": "/a"}] for stage in edit.STAGES}},
    {"additionalGids": [1]},
    {"intelRdt": {"closID": "a"}},
    {"netDevices": {"a": {"name": "a"}}},
]


class Validate(Command):
    """nvidia-ctk spec validate."""

    table = tables.SPEC_VALIDATE
    format: str

    def main(self, file: str = "config.json") -> int:
        """Print the findings on stdout and their number on stderr; return 1 if one is an error."""
        path = os.path.join(file, "config.json") if os.path.isdir(file) else file
        errors = findings.show(of_file(path), [files.name(path)], as_json=self.format == "json")
        self.tell(f"checked {files.name(path)}: {findings.counted(errors, 'error')}")
        return 1 if errors else 0


def of_file(path: str) -> list[Finding]:
    """Return the errors of a file, then notes about what the runtime refuses."""
    name = files.name(path)
    try:
        data = files.read(path)
        if len(data) > bundle.LARGEST:
            what = f"is too large: the runtime's limit is {bundle.LARGEST} bytes"
            raise NvidiaRuntimeError(what, name)
        spec = document.loads(data, name)
    except NvidiaRuntimeError as error:
        return [findings.of_error(error, name)]
    results = findings.of_schema("oci-config", spec, name)
    if isinstance(spec, dict):
        results += _refusals(spec, name)
    return results


def _refusals(spec: dict[str, Any], name: str) -> list[Finding]:
    """Return a note for each field that the runtime itself cannot read or edit."""
    refused: dict[str, Finding] = {}
    settings = {**config.defaults(), VOLUME_MOUNTS: True}
    for edits in (None, *EDITS):
        try:
            if edits is None:
                request.read(spec, settings, name)
            else:
                edit.apply(copy.deepcopy(spec), [copy.deepcopy(edits)], name)
        except NvidiaRuntimeError as error:
            refusal = findings.of_error(error, name)
            when = "refuses the container" if edits is None else "cannot inject devices"
            text = f"nvidia-container-runtime {when}: {refusal.message}"
            note = Finding(severity="note", file=name, path=refusal.path, message=text)
            refused.setdefault(refusal.path, note)
    return list(refused.values())
