# SPDX-License-Identifier: Apache-2.0
"""What is generated at a create itself: gated features, IMEX channels, nodes that manage MIG.

Few containers ask for them, and their nodes come and go.
"""

from nvidia_runtime import document
from nvidia_runtime.admission import request
from nvidia_runtime.cdi import edits as cdi_edits
from nvidia_runtime.store.lines import Source
from nvidia_runtime.store.snapshot import DRIVER_ROOT, NO_GIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.admission.policy import Admitted
    from nvidia_runtime.store.snapshot import Settings


def feature(gate: str, settings: "Settings", **origin: str) -> Source:
    """Return the edits for a gated feature, as NVIDIA_GDS=enabled asks for one."""
    from nvidia_runtime.generate import gated  # only where it is asked for

    return source({**origin, "generator": gate}, gated.configured(gate, settings))


def imex(channels: tuple[str, ...], settings: "Settings") -> Source:
    """Return the edits for IMEX channels."""
    from nvidia_runtime.generate import assemble, machine  # only where they are asked for
    from nvidia_runtime.generate.options import Options

    options = Options("imex", channels)
    options.driver_root = str(settings[DRIVER_ROOT]) or "/"
    options.merged_device = False
    devices = machine.generate(options).spec["devices"]
    edits = assemble.merge(device["containerEdits"] for device in devices)
    return source({"generator": "imex"}, edits)


def mig(admitted: "Admitted", settings: "Settings") -> Source:
    """Return the nodes by which MIG devices are configured or watched, as far as there are any."""
    from nvidia_runtime.generate import entries  # only where they are asked for
    from nvidia_runtime.host import mig as mig_devices
    from nvidia_runtime.host import nodes

    names = dict(zip(request.MIG, mig_devices.MANAGING, strict=True))
    root = str(settings[DRIVER_ROOT]) or "/"
    capabilities = mig_devices.managing_nodes(mig_devices.read_minors(""))
    present = []
    for name in admitted.mig:
        path = capabilities.get(names[name], "")
        node = nodes.read(root, path) if path else None
        if node:
            present.append(node)
        else:
            what = f"{path} is missing" if path else "the driver offers no MIG"
            admitted.warnings.append(f"the container sets {name} in vain: {what}")
    with_gids = not settings[NO_GIDS]
    return source({"generator": "mig"}, entries.of_nodes(present, with_gids))


def source(origin: "dict[str, str]", edits: "dict[str, Any]") -> Source:
    """Return edits in the form of a CDI spec as a source."""
    text = document.dumps(cdi_edits.prepare(edits)).decode()
    return Source("", document.dumps(origin).decode(), text)
