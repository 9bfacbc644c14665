# SPDX-License-Identifier: Apache-2.0
"""Say what calls give on this machine: the word is a JSON list of configurations' fields.

The answer has the paths of the nodes and mounts of each, and the verbs of its hooks.
"""

from __future__ import annotations

import json
import sys

from nvidia_runtime.container_cli import given
from nvidia_runtime.container_cli.configuration import Configuration
from nvidia_runtime.prepare import takeover


def main() -> None:
    """Do what the word says."""
    answers = []
    for fields in json.loads(sys.argv[1]):
        for name, value in fields.items():
            if isinstance(value, list):
                fields[name] = frozenset(value) if name == "capabilities" else tuple(value)
        edits = given.read(Configuration(rootfs="/", pid=0, **fields)).edits
        paths = [node["path"] for one in edits for node in one.get("devices", ())]
        paths += [mount["destination"] for one in edits for mount in one.get("mounts", ())]
        steps = [step for hook in takeover.hooks_of(edits) for step in takeover.understood(hook)]
        answers.append(paths + [step.verb for step in steps])
    print(json.dumps(answers))
