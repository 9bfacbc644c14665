# SPDX-License-Identifier: Apache-2.0
"""The smallest valid documents, to which a test adds what it is about."""

from __future__ import annotations

import json
from typing import Any

Document = dict[str, Any]


def spec(*env: str, **fields: Any) -> Document:
    """Make a config.json; ``env`` is added to the process', ``fields`` replace top-level ones."""
    process = {"cwd": "/", "args": ["sh"], "env": ["PATH=/usr/bin:/bin", *env]}
    return {"ociVersion": "1.1.0", "process": process, "root": {"path": "rootfs"}, **fields}


def asking(devices: str = "0", **fields: Any) -> Document:
    """Make a config.json of a container that asks for devices by its environment."""
    return spec(f"NVIDIA_VISIBLE_DEVICES={devices}", **fields)


def device(name: str = "0", **edits: Any) -> Document:
    """Make a device of a CDI spec; without edits it sets GPU to its name."""
    return {"name": name, "containerEdits": edits or {"env": [f"GPU={name}"]}}


def cdi_spec(*devices: Document, **fields: Any) -> Document:
    """Make a CDI spec of NVIDIA's GPUs; without devices it describes device 0."""
    items = list(devices) or [device()]
    return {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": items, **fields}


def environment(document: Document) -> list[str]:
    """Return the environment of a config.json's process."""
    entries: list[str] = document["process"]["env"]
    return entries


def encode(document: object) -> bytes:
    """Write a document as engines do."""
    return json.dumps(document, indent=1).encode()
