# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk spec validate: everything that is wrong with a container's config.json.

Ring: elsewhere.
"""

from __future__ import annotations

import copy
import os

from plumbum import cli

from nvidia_runtime import document
from nvidia_runtime.admission import request
from nvidia_runtime.cli import files, findings
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.findings import Finding
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle, edit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# One of each: what is edited must have the type that the specification gives it.
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
    """List all errors of a config.json (- is stdin), and what the runtime would refuse."""

    format = cli.SwitchAttr(
        ["--format"], cli.Set("text", "json", case_sensitive=True), "text", help="text or json"
    )

    def main(self, file: str = "config.json") -> int:
        """Print the findings on stdout, and how many there are on stderr; errors mean exit 1."""
        path = os.path.join(file, "config.json") if os.path.isdir(file) else file
        found = of_file(path)
        if self.format == "json":
            print(findings.as_json(found, [files.name(path)]))
        else:
            for finding in found:
                print(finding)
        errors = sum(finding.severity == "error" for finding in found)
        self.tell(f"checked {files.name(path)}: {findings.counted(errors, 'error')}")
        return 1 if errors else 0


def of_file(path: str) -> list[Finding]:
    """List the errors of a file, then notes of what the runtime would refuse."""
    name = files.name(path)
    try:
        data = files.read(path)
        if len(data) > bundle.LARGEST:
            what = f"is too large: the runtime's limit is {bundle.LARGEST} bytes"
            raise NvidiaRuntimeError(what, name)
        spec = document.loads(data, name)
    except NvidiaRuntimeError as error:
        return [findings.of_error(error, name)]
    found = findings.of_schema("oci-config", spec, name)
    if isinstance(spec, dict):
        found += _refusals(spec, name)
    return found


def _refusals(spec: dict[str, Any], name: str) -> list[Finding]:
    """Ask the runtime's own code what it makes of the fields that it reads and edits."""
    refused: dict[str, Finding] = {}
    settings = {**config.defaults(), "accept-nvidia-visible-devices-as-volume-mounts": True}
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
