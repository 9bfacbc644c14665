# SPDX-License-Identifier: Apache-2.0
"""Make snapshots: read config.toml and the CDI specs once, for all creates to come."""

from __future__ import annotations

import json
import os
import sys
import time

from nvidia_runtime import __version__
from nvidia_runtime.compile import config, keep
from nvidia_runtime.store import files, snapshot
from nvidia_runtime.store.lines import seal
from nvidia_runtime.store.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nvidia_runtime.cdi.registry import Registry

PATIENCE = 0.3  # seconds


def defaults() -> config.Settings:
    """Return the settings that hold where config.toml cannot be read."""
    return config.defaults()


def settings(path: str) -> Snapshot:
    """Compile config.toml alone.  Raises `NvidiaRuntimeError` if it is broken."""
    began = time.time_ns()
    stamp = files.stamp(path)
    values, warnings = config.load(path)
    config.check_ldconfig(values, path)
    return _publish(ConfigFile(path, stamp, values, warnings), None, began)


def registry(compiled: Snapshot) -> Snapshot:
    """Compile the CDI specs for the settings of a snapshot."""
    from nvidia_runtime.cdi import registry as cdi_registry  # YAML and hashes, only for specs

    began = time.time_ns()
    specs = cdi_registry.read(
        compiled.settings[snapshot.SPEC_DIRS], _progress() if os.isatty(2) else None
    )
    source = ConfigFile(compiled.config, compiled.stamp, compiled.settings, compiled.warnings)
    return _publish(source, specs, began)


def files_of(compiled: Snapshot, kinds: set[str]) -> list[tuple[str, str]]:
    """List the spec files, with their digests, that describe devices of some kinds."""
    numbers: dict[str, None] = {}
    spec_files = []
    lines = compiled.data.decode("ascii").splitlines()[2:] if compiled.devices_at else []
    for line in lines:
        name, number, _ = line.split("\t", 2)
        if name.partition("=")[0] in kinds:
            numbers[f"@{number}"] = None
    for line in lines:
        name, origin, _ = line.split("\t", 2)
        if name in numbers:
            spec_files.append((json.loads(origin)["file"], json.loads(origin)["sha256"]))
    return spec_files


def _progress() -> Callable[[int, int], None]:
    """Tell at a terminal what takes so long; a fast compile says nothing."""
    began = time.monotonic()

    def tell(number: int, count: int) -> None:
        if time.monotonic() - began < PATIENCE or (number % 10 and number + 1 < count):
            return
        gone = number + 1 == count
        sys.stderr.write("\r\033[K" if gone else f"\rreading CDI specs: {number} of {count}")
        sys.stderr.flush()

    return tell


class ConfigFile:
    """What a config.toml says: its path and stamp, the settings, and what is odd about it."""

    __slots__ = ("path", "settings", "stamp", "warnings")

    def __init__(
        self, path: str, stamp: files.Stamp | None, values: config.Settings, warnings: list[str]
    ) -> None:
        self.path = path
        self.stamp = stamp
        self.settings = values
        self.warnings = warnings


def _publish(source: ConfigFile, registry: Registry | None, began: int) -> Snapshot:
    """Return the snapshot, and keep it for the next create if nothing is in flux."""
    data = _text(source, registry)
    stamps = [[source.path, *(source.stamp or ())], *(registry.stamps if registry else ())]
    if all(entry[0][:1] == "/" for entry in stamps) and keep.is_settled(stamps, began):
        folder = files.state_folder(make=True)
        keep.keep(folder and snapshot.file_of(folder, source.path), data)
    return Snapshot(data)


def _is_ours(path: str, sha256: str) -> bool:
    from nvidia_runtime.compile import written  # few specs are asked about

    return written.recall(path, sha256) is not None


def _text(source: ConfigFile, registry: Registry | None) -> bytes:
    lines: list[str] = []
    if registry:
        from nvidia_runtime.generate import changes  # only where specs are compiled
        from nvidia_runtime.host import shared_places

        lines.append(keep.text(registry.stamps))
        numbers: dict[str, int] = {}
        for name, (file, device) in registry.devices.items():
            if file.path not in numbers:
                numbers[file.path] = len(numbers)
                origin: dict[str, Any] = {"file": file.path, "sha256": file.sha256}
                if file.doubts:
                    origin["doubt"] = "; ".join(file.doubts)
                if version := changes.driver_version(file.spec):
                    origin["driver"] = version
                if library := changes.missing_cuda(file.spec):
                    origin["lacks"] = library
                    origin["ours"] = _is_ours(file.path, file.sha256)
                if places := shared_places.of_mounts(changes.mounts(file.spec)):
                    origin["shared"] = places
                lines.append(f"@{numbers[file.path]}\t{keep.text(origin)}\t{keep.edits(file.spec)}")
            lines.append(f"{name}\t{numbers[file.path]}\t{keep.edits(device)}")
    rest = "".join(f"{seal(line)}\n" for line in lines)
    header = {
        "format": [snapshot.FORMAT, __version__],
        "length": len(rest),  # all of it is ASCII
        "config": source.path,
        "stamp": source.stamp,
        "settings": source.settings,
        "warnings": source.warnings,
        "devices": registry is not None,
    }
    return f"{seal(keep.text(header))}\n{rest}".encode("ascii")
