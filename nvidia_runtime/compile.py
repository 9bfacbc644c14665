# SPDX-License-Identifier: Apache-2.0
"""Make snapshots: read config.toml and the CDI specs once, for all creates to come.

Ring: elsewhere; loaded when a stamp differs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from nvidia_runtime import __version__, config, record, snapshot
from nvidia_runtime.cdi import edits
from nvidia_runtime.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.cdi.registry import Registry

SPEC_DIRS = "nvidia-container-runtime.modes.cdi.spec-dirs"
MOST_SNAPSHOTS = 16
PATIENCE = 0.3  # seconds
# A file changed so shortly ago could change again without a change of its times: the kernel's clock
# of file times ticks every 1 to 10 ms, some file systems count whole seconds.
SETTLED_NS = 50_000_000
SETTLED_SECONDS_NS = 2_000_000_000


def defaults() -> config.Settings:
    """Give the settings that hold where config.toml cannot be read."""
    return config.defaults()


def settings(path: str) -> Snapshot:
    """Compile config.toml alone.  Raises `NvidiaRuntimeError` if it is broken."""
    began = time.time_ns()
    stamp = snapshot.stamp(path)
    values, warnings = config.load(path)
    config.check_ldconfig(values, path)
    return _publish(ConfigFile(path, stamp, values, warnings), None, began)


def registry(known: Snapshot) -> Snapshot:
    """Compile the CDI specs for the settings of a snapshot."""
    from nvidia_runtime.cdi import registry as cdi_registry  # YAML and hashes, only for specs

    began = time.time_ns()
    found = cdi_registry.read(known.settings[SPEC_DIRS], _progress() if os.isatty(2) else None)
    source = ConfigFile(known.config, known.stamp, known.settings, known.warnings)
    return _publish(source, found, began)


def _progress() -> Callable[[int, int], None]:
    """Tell somebody who waits at a terminal what takes so long; a fast compile says nothing."""
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
        self, path: str, stamp: snapshot.Stamp | None, values: config.Settings, warnings: list[str]
    ) -> None:
        self.path = path
        self.stamp = stamp
        self.settings = values
        self.warnings = warnings


def _publish(source: ConfigFile, found: Registry | None, began: int) -> Snapshot:
    """Give the snapshot, and keep it for the next create if nothing is in flux."""
    data = _text(source, found)
    stamps = [[source.path, *(source.stamp or ())], *(found.stamps if found else ())]
    if all(entry[0][:1] == "/" for entry in stamps) and _is_settled(stamps, began):
        _save(source.path, data)
    return Snapshot(data)


def _is_settled(stamps: list[list[Any]], began: int) -> bool:
    """Whether no file was changed while we read it, or so shortly before that we could not tell."""
    for name, *numbers in stamps:
        if (snapshot.stamp(name) or []) != numbers:
            return False
        for changed in numbers[3:]:
            coarse = changed % 1_000_000_000 == 0
            if changed > began - (SETTLED_SECONDS_NS if coarse else SETTLED_NS):
                return False
    return True


def _text(source: ConfigFile, found: Registry | None) -> bytes:
    lines: list[str] = []
    if found:
        lines.append(_dump(found.stamps))
        numbers: dict[str, int] = {}
        for name, (file, device) in found.devices.items():
            if file.path not in numbers:
                numbers[file.path] = len(numbers)
                origin = {"file": file.path, "sha256": file.sha256}
                lines.append(f"@{numbers[file.path]}\t{_dump(origin)}\t{_edits(file.spec)}")
            lines.append(f"{name}\t{numbers[file.path]}\t{_edits(device)}")
    rest = "\n".join([*lines, ""]) if lines else ""
    header = {
        "format": [snapshot.FORMAT, __version__],
        "length": len(rest),  # all of it is ASCII
        "config": source.path,
        "stamp": source.stamp,
        "settings": source.settings,
        "warnings": source.warnings,
        "devices": found is not None,
    }
    return f"{_dump(header)}\n{rest}".encode("ascii")


def _edits(part: dict[str, Any]) -> str:
    return _dump(edits.prepare(part.get("containerEdits") or {}))


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _save(path: str, data: bytes) -> None:
    """Write the snapshot; without one everything still works, only slower."""
    folder = snapshot.state_folder(make=True)
    file = folder and snapshot.file_of(folder, path)
    if not file:
        return
    temporary = f"{folder}/.snapshot-{os.getpid()}"
    try:
        if os.path.lexists(temporary):  # of a process that was killed here
            os.unlink(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            os.rename(temporary, file)
        except OSError:
            os.unlink(temporary)
            return
        _tidy(folder)
    except OSError:
        return


def _tidy(folder: str) -> None:
    """Drop the oldest snapshots, what killed processes left, and all but the youngest records."""
    for entry in os.scandir(folder):
        left = entry.name.startswith(".snapshot-") and time.time() - entry.stat().st_mtime > 60
        if left:
            os.unlink(entry.path)
    files = [entry for entry in os.scandir(folder) if entry.name.startswith("snapshot-")]
    files.sort(key=lambda entry: entry.stat().st_mtime_ns)
    for entry in files[:-MOST_SNAPSHOTS]:
        os.unlink(entry.path)
    if os.path.isdir(f"{folder}/containers"):
        record.prune(f"{folder}/containers")
