# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk info: what this installation is, and what it finds on this machine."""

from __future__ import annotations

import os
import platform as python
import sys
from typing import Any

from nvidia_runtime import TOOLKIT, __version__
from nvidia_runtime.cdi import registry
from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Configured
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.compile import config
from nvidia_runtime.engines import running, supported
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import platform
from nvidia_runtime.oci import lowlevel
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import DRIVER_ROOT, MODE, SPEC_DIRS

GPUS = "/proc/driver/nvidia/gpus"
NAMES = {
    "toolkit": "as toolkit",
    "config": "config.toml",
    "state": "state folder",
    "driver_root": "driver root",
    "low_level_runtime": "runtime",
    "specs": "CDI spec",
    "devices": "CDI devices",
    "gpus": "GPU",
    "engines": "engine",
    "errors": "error",
}


class Info(Configured):
    """nvidia-ctk info."""

    table = tables.INFO
    format: str

    def main(self) -> int:
        """Print one fact a line, or JSON."""
        path = self.config_path()
        facts = of_installation(path) | of_machine(self._settings(path))
        if self.format == "json":
            screen.print_json(facts)
            return 0
        rows = [row for key, value in facts.items() for row in _rows(key, value)]
        width = max(len(name) for name, _ in rows) + 2
        for name, said in rows:
            print(f"{name.ljust(width)}{said}")
        return 0

    def _settings(self, path: str) -> config.Settings:
        try:
            return config.load(path)[0]
        except NvidiaRuntimeError as error:
            self.warn(f"{error}; going on with the default settings")
            return config.defaults()


def of_installation(path: str) -> dict[str, Any]:
    """Return the facts about our programs."""
    return {
        "version": __version__,
        "toolkit": TOOLKIT,
        "program": os.path.abspath(sys.argv[0]),
        "package": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "python": f"{python.python_version()} {sys.executable}",
        "config": path if os.path.exists(path) else f"{path} (absent: defaults)",
        "state": files.state_folder() or "no folder that only this user can write",
    }


def of_machine(settings: config.Settings) -> dict[str, Any]:
    """Return the facts about this machine, with these settings."""
    root = str(settings[DRIVER_ROOT])
    mode = str(settings[MODE])
    if mode == "auto":
        mode = f"auto ({platform.mode(root) or 'csv or jit-cdi, by the names of its GPUs'})"
    specs = registry.read(list(settings[SPEC_DIRS]))
    return {
        "system": f"{_distribution()}, Linux {os.uname().release} {os.uname().machine}",
        "driver": files.loaded_driver() or "none is loaded",
        "driver_root": root or "/",
        "gpus": _gpus(),
        "mode": mode,
        "low_level_runtime": _runtime(list(settings["nvidia-container-runtime.runtimes"])),
        "specs": sorted({file.path for file, _ in specs.devices.values()}),
        "devices": sorted(specs.devices),
        "errors": [str(error) for error in specs.errors],
        "engines": [_engine(daemon) for name in supported.NAMES for daemon in _daemons(name)],
    }


def _distribution() -> str:
    try:
        return python.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "unknown"


def _gpus() -> list[str]:
    """Return the PCI addresses that the kernel module lists; no GPU is woken."""
    try:
        return sorted(os.listdir(GPUS))
    except OSError:
        return []


def _runtime(names: list[str]) -> str:
    try:
        return lowlevel.find(names, os.environ.get("PATH", ""), "")
    except NvidiaRuntimeError as error:
        return error.what


def _daemons(name: str) -> list[running.Running]:
    return running.all_of(supported.ENGINES[name])


def _engine(daemon: running.Running) -> str:
    state = f"runs, pid {daemon.pid}" if daemon.pid else "does not run"
    state = state if daemon.engine.has_daemon else "no daemon"
    version = ".".join(map(str, daemon.version)) or "of an unknown version"
    return f"{daemon.engine.name} {version} ({state})"


def _rows(key: str, value: Any) -> list[tuple[str, str]]:
    name = NAMES.get(key, key)
    if key == "devices":  # 'cdi list' lists them
        return [(name, str(len(value)))]
    if not isinstance(value, list):
        return [(name, str(value))]
    return [(name, str(one)) for one in value] or ([] if key == "errors" else [(name, "none")])
