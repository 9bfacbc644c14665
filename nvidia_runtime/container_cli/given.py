# SPDX-License-Identifier: Apache-2.0
"""What a container that exists gets: the edits of the default mode, as far as the call wants them.

The machine itself says it, by the same machine file, so that a container has the same nodes, files
and links whichever way it gets them.
"""

import os

from nvidia_runtime.admission import request
from nvidia_runtime.admission.policy import Admitted
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import specs
from nvidia_runtime.store import files
from nvidia_runtime.store import snapshot as snapshots
from nvidia_runtime.store.snapshot import DRIVER_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.configuration import Configuration
    from nvidia_runtime.document import Document
    from nvidia_runtime.store.lines import Source
    from nvidia_runtime.store.snapshot import Snapshot

SOCKETS = {
    "persistenced": "/nvidia-persistenced/socket",
    "fabricmanager": "/nvidia-fabricmanager/socket",
}
FIRMWARE = "/lib/firmware/"
COMPAT = "enable-cuda-compat"
DISABLED = "disabled"
COMPAT32 = "compat32"
DRIVER_OF_CHANNELS = "nvidia-caps-imex-channels"


class Given:
    """The edits, whose device nodes are as the host has them, and where it has each of them."""

    __slots__ = ("edits", "nodes", "warnings")

    def __init__(self) -> None:
        self.edits: "list[Document]" = []
        self.nodes: dict[str, str] = {}
        self.warnings: list[str] = []


def read(configuration: "Configuration") -> Given:
    """Return what a call gives.

    Raises `NvidiaRuntimeError` for devices that the machine lacks, and for requirements that it
    does not meet.
    """
    given = Given()
    if configuration.requirements:
        from nvidia_runtime.container_cli import requirement  # images that are based on CUDA's

        ids, root = configuration.devices, configuration.driver_root
        requirement.enforce(configuration.requirements, ids, root)
    for source in _sources(configuration, given.warnings):
        edits = _wanted(source.edits, configuration)
        for node in edits.get("devices", ()):
            given.nodes[node["path"]] = node.get("hostPath", node["path"])
        specs.fill_nodes(edits, source.origin)
        given.edits.append(edits)
    return given


def _sources(configuration: "Configuration", warnings: list[str]) -> "list[Source]":
    from nvidia_runtime.host import platform
    from nvidia_runtime.sources import capability_files, generated, machine

    snapshot = _snapshot(configuration.driver_root)
    admitted = Admitted(configuration.devices or ("none",), "the command line")
    admitted.mode = platform.mode() or machine.platform(snapshot)
    admitted.imex = configuration.imex_channels
    admitted.mig = tuple(
        name
        for name, asked in zip(
            request.MIG, (configuration.mig_config, configuration.mig_monitor), strict=True
        )
        if asked
    )
    snapshot.settings[machine.CAPABILITIES] = "all"  # the call says which
    if configuration.imex_channels and configuration.can_create_channels:
        _make_channels(configuration.imex_channels, configuration.driver_root)
    wanted = configuration.capabilities
    admitted.has_compat32 = COMPAT32 in wanted
    # Callers make single words of "all": that this machine lacks some of it is no news.
    environment = {request.DRIVER_CAPABILITIES: "all"}
    injected = machine.sources(admitted.devices, admitted, environment, snapshot)
    if admitted.mig:
        injected.append(generated.mig(admitted, snapshot.settings))
    warnings += admitted.warnings
    return capability_files.limit_to(injected, wanted)


def _make_channels(names: tuple[str, ...], root: str) -> None:
    """Make the host's nodes of IMEX channels that are missing; the driver makes the first only.

    What cannot be made is told where it is looked for.
    """
    from nvidia_runtime.generate.imex import FOLDER, HIGHEST, PREFIX
    from nvidia_runtime.host import device_nodes

    try:
        major = device_nodes.majors().get(DRIVER_OF_CHANNELS)
        wanted = [name for name in names if name.isascii() and name.isdigit() and len(name) < 8]
        for number in map(int, wanted if major else ()):
            if number <= HIGHEST:
                path = f"{FOLDER}/{PREFIX}{number}"
                os.makedirs(root.rstrip("/") + FOLDER, exist_ok=True)
                device_nodes.make(root or "/", path, (major or 0, number))
    except (NvidiaRuntimeError, OSError):
        return


def _snapshot(root: str) -> "Snapshot":
    """Return the settings of this machine, for a driver that may be elsewhere than they say."""
    config = files.config_path()
    snapshot = snapshots.load(config)
    if snapshot is None:
        from nvidia_runtime.compile import snapshot as compiler

        snapshot = compiler.settings(config)
    if root.rstrip("/") != str(snapshot.settings[DRIVER_ROOT]).rstrip("/"):
        snapshot.settings[DRIVER_ROOT] = root
        snapshot.config = ""  # no machine file is kept for it
    return snapshot


def _wanted(edits: "Document", configuration: "Configuration") -> "Document":
    """Leave out what the call does without."""
    left = []
    if not configuration.with_persistenced:
        left.append(SOCKETS["persistenced"])
    if not configuration.with_fabricmanager:
        left.append(SOCKETS["fabricmanager"])
    is_without_firmware = not configuration.with_gsp_firmware
    kept = dict(edits)
    kept["mounts"] = [
        mount
        for mount in edits.get("mounts", ())
        if not mount["destination"].endswith(tuple(left))
        and not (is_without_firmware and FIRMWARE in mount["destination"])
    ]
    has_compat = configuration.with_container_libraries
    if not has_compat or configuration.cuda_compat_mode == DISABLED:
        kept["hooks"] = {
            stage: [hook for hook in hooks if COMPAT not in hook.get("args", ())]
            for stage, hooks in edits.get("hooks", {}).items()
        }
    return {name: value for name, value in kept.items() if value}
