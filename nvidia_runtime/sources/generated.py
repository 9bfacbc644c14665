# SPDX-License-Identifier: Apache-2.0
"""What is generated at a create itself: gated features and IMEX channels.

Few containers ask for them, and their nodes come and go.
"""

from nvidia_runtime import document
from nvidia_runtime.cdi import edits as cdi_edits
from nvidia_runtime.store.lines import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.store.snapshot import Settings

ROOT = "nvidia-container-cli.root"


def feature(gate: str, settings: "Settings", **origin: str) -> Source:
    """Return the edits for a gated feature, as NVIDIA_GDS=enabled asks for one."""
    from nvidia_runtime.generate import gated  # only where it is asked for

    return source({**origin, "generator": gate}, gated.configured(gate, settings))


def imex(channels: tuple[str, ...], settings: "Settings") -> Source:
    """Return the edits for IMEX channels."""
    from nvidia_runtime.generate import assemble, machine  # only where they are asked for
    from nvidia_runtime.generate.options import Options

    options = Options("imex", channels)
    options.driver_root = str(settings[ROOT]) or "/"
    options.merged_device = False
    devices = machine.generate(options).spec["devices"]
    edits = assemble.merge(device["containerEdits"] for device in devices)
    return source({"generator": "imex"}, edits)


def source(origin: "dict[str, str]", edits: "dict[str, Any]") -> Source:
    """Return edits in the form of a CDI spec as a source."""
    text = document.dumps(cdi_edits.prepare(edits)).decode()
    return Source("", document.dumps(origin).decode(), text)
