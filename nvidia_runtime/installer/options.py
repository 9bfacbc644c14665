# SPDX-License-Identifier: Apache-2.0
"""What an installation is told: the toolkit's flags and variables as one value, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nvidia_runtime.cdi import names
from nvidia_runtime.engines import supported
from nvidia_runtime.errors import NvidiaRuntimeError

RESTARTS = ("signal", "systemd", "none")
MODES = ("config", "hook")
NODES = ("control", "none", "")
PACKAGES = ("auto", "deb", "rpm", "")
PID_FILE = "toolkit.pid"
HIGHEST_INDEX = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where the tree goes, from where it is copied, and where the files about our process are."""

    folder: str = "/usr/local/nvidia"
    source: str = ""
    package: str = "auto"
    pid_file: str = f"/run/nvidia/toolkit/{PID_FILE}"
    ready_file: str = ""
    is_daemon: bool = True

    @property
    def toolkit(self) -> str:
        """The folder that users and engines name."""
        return f"{self.folder.rstrip('/')}/toolkit"

    @property
    def ready(self) -> str:
        """The file that says that we are ready."""
        return self.ready_file or os.path.join(os.path.dirname(self.pid_file), "toolkit.ready")


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Where the driver and its nodes are: on the host, and for us."""

    root: str = "/run/nvidia/driver"
    here: str = "/run/nvidia/driver"
    dev_root: str = ""
    dev_here: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The CDI spec for managers of GPUs, and the nodes that are made."""

    is_on: bool = False
    folder: str = "/var/run/cdi"
    kind: str = "management.nvidia.com/gpu"
    nodes: tuple[str, ...] = ("control",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The engine that is told of the tree; paths are ours, but for ``drop_in_there``."""

    name: str = "docker"
    is_configured: bool = True
    config: str = ""
    drop_in: str | None = None
    drop_in_there: str = ""
    program: str = ""
    socket: str = ""
    restart: str = ""
    cdi: bool = False
    host_root: str = "/host"
    runtime_name: str = "nvidia"
    is_default: bool = True
    sources: tuple[str, ...] = ("command", "file")
    is_legacy: bool = False
    kind: str = ""
    annotation_prefixes: tuple[str, ...] = ()
    hooks_folder: str = "/usr/share/containers/oci/hooks.d"
    hook_name: str = "oci-nvidia-hook.json"
    mode: str = "config"

    @property
    def has_hook(self) -> bool:
        """Whether it runs a hook for all containers, and has no runtime of ours."""
        return self.mode == MODES[1] and supported.ENGINES[self.name].runs_hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Nri:
    """The plugin for the Node Resource Interface."""

    is_on: bool = False
    index: int = 10
    socket: str = "/var/run/nri/nri.sock"
    namespace: str = ""
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All of it; ``settings`` are those of config.toml that are named, ``runtimes`` too."""

    installation: Installation
    driver: Driver
    devices: Devices
    engine: Engine
    nri: Nri
    runtimes: tuple[str, ...] = ()
    settings: tuple[tuple[str, object], ...] = ()


def check(options: Options) -> None:
    """Raise `NvidiaRuntimeError` for what is wrong, with the toolkit's words where it has some."""
    _check_places(options.installation)
    engine = options.engine
    runtimes = sorted(name for name, kind in supported.ENGINES.items() if kind.rereads_by)
    if engine.name not in runtimes:
        expected = " | ".join(runtimes)
        raise NvidiaRuntimeError(f'invalid runtime "{engine.name}"; expected one of [{expected}]')
    if not engine.runtime_name or not engine.runtime_name.isprintable():
        what = f"invalid --runtime-name value: {engine.runtime_name!r}"
        raise NvidiaRuntimeError(what, hint="the default is nvidia")
    if engine.restart not in ("", *RESTARTS):
        what = f'invalid --restart-mode value: "{engine.restart}"'
        raise NvidiaRuntimeError(what, hint=f"it is one of {', '.join(RESTARTS)}")
    if engine.mode not in MODES:
        what = f'invalid cri-o config: invalid cri-o config mode: "{engine.mode}"'
        raise NvidiaRuntimeError(what, hint=f"it is one of {', '.join(MODES)}")
    for source in engine.sources:
        if source not in ("command", "file") and not source.startswith("file=/"):
            what = f'invalid --config-source value: "{source}"'
            raise NvidiaRuntimeError(what, hint="it is command, file, or file=/PATH")
    for node in options.devices.nodes:
        if node not in NODES:
            what = f"invalid --create-device-nodes value: {node}"
            raise NvidiaRuntimeError(what, hint="it is control or none")
    vendor, _, kind = options.devices.kind.partition("/")
    if not vendor or not kind or names.complaint(f"{options.devices.kind}=all"):
        what = f"invalid --cdi-kind value: {options.devices.kind!r}"
        raise NvidiaRuntimeError(what, hint="the default is management.nvidia.com/gpu")
    if options.nri.is_on and not options.nri.namespace:
        raise NvidiaRuntimeError(
            "the NRI namespace must be specified when the NRI plugin is enabled"
        )
    if not 0 <= options.nri.index <= HIGHEST_INDEX:
        raise NvidiaRuntimeError(f"nri-plugin-index must be in the range [0,{HIGHEST_INDEX}]")


def _check_places(installation: Installation) -> None:
    if not installation.folder.strip("/"):
        hint = "--toolkit-install-dir=/usr/local/nvidia is the default"
        raise NvidiaRuntimeError("the install root must be specified", hint=hint)
    if not os.path.isabs(installation.folder):
        what = f"the install root must be an absolute path, not {installation.folder!r}"
        raise NvidiaRuntimeError(what)
    if os.path.basename(installation.pid_file) != PID_FILE:
        what = f"invalid {PID_FILE} path {installation.pid_file}"
        raise NvidiaRuntimeError(what, hint=f"its name has to be {PID_FILE}")
    if installation.package not in PACKAGES:
        what = f"failed to resolve source root: invalid package type: {installation.package}"
        raise NvidiaRuntimeError(what, hint="it has no effect here; leave it out")
    ready = installation.ready
    # It is replaced, and goes with us: /dev/null would be gone.
    if os.path.lexists(ready) and not os.path.isfile(ready):
        raise NvidiaRuntimeError("is not a regular file", ready, "--ready-file names another")
