# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk snapshot: what the runtime remembers of config.toml and the CDI specs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nvidia_runtime.cdi import registry
from nvidia_runtime.cli.command import Command, Configured
from nvidia_runtime.compile import config
from nvidia_runtime.compile import snapshot as compile
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files, machine_file, snapshot
from nvidia_runtime.store.shortcut import PREFIX as SHORTCUT

SNAPSHOT = "snapshot-"
MACHINE = "machine-"


class Show(Configured):
    """Print what a snapshot was made from, and whether it still holds."""

    def main(self) -> int:
        """Print the state, one fact a line."""
        path = self.config_path()
        folder = files.state_folder()
        print(f"state folder  {folder or 'none that only this user can write'}")
        print(f"config        {path}{'' if os.path.exists(path) else ' (absent: defaults)'}")
        found = snapshot.load(path)
        print(f"snapshot      {_verdict(found)}")
        if found:
            _print_contents(found)
        for name in _names(folder, MACHINE):
            print(f"machine       {_machine(os.path.join(folder, name))}")
        for name in _names(folder, SHORTCUT):
            line = Path(folder, name).read_text(errors="replace").rstrip("\n")
            print(f"shortcut      {line.rpartition(':')[2]}  for {line.rpartition(':')[0]}")
        print(f"records       {len(_names(f'{folder}/containers', ''))}")
        return 0


class Rebuild(Configured):
    """Compile config.toml and the CDI specs now, so that the next create need not."""

    def main(self) -> int:
        """Compile, and say what was found and what was wrong with it."""
        path = self.config_path()
        known = compile.registry(compile.settings(path))
        for error in registry.read(known.settings[compile.SPEC_DIRS]).errors:
            print(f"warning       {error}")
        _print_contents(known)
        if snapshot.load(path) is None:
            raise NvidiaRuntimeError(
                "the snapshot could not be kept; every create compiles again",
                where=files.state_folder() or files.SYSTEM_FOLDER,
                hint="try again if a spec was just written; otherwise make the folder writable",
            )
        return 0


class Drop(Command):
    """Remove snapshots, what is known of the machine, and shortcuts; they are made anew."""

    def main(self) -> int:
        """Remove the files; records of injections stay."""
        folder = files.state_folder()
        for name in [
            name for kind in (SNAPSHOT, MACHINE, SHORTCUT) for name in _names(folder, kind)
        ]:
            try:
                os.unlink(os.path.join(folder, name))
            except OSError as error:
                raise NvidiaRuntimeError(os_reason(error), os.path.join(folder, name)) from None
            print(f"removed {os.path.join(folder, name)}")
        return 0


def _machine(path: str) -> str:
    """Say what a machine file knows, for which mode and config.toml, and whether it holds."""
    try:
        data = files.read_own(path)
        header = json.loads(data[: data.index(b"\n")])
        config_path, variant = header["key"][2], header["key"][4]
        found = machine_file.MachineFile(data, header["key"])
        verdict = "fresh" if found.is_fresh() else "stale: the next create looks at the machine"
    except (OSError, ValueError, LookupError, TypeError, NvidiaRuntimeError):
        return f"{path}: cannot be read"
    start = f"\n{machine_file.KIND}=".encode()
    names = [line.split("\t")[0] for line in data.decode().split(start.decode())[1:]]
    return f"{', '.join(names)} (mode {variant}, {config_path}): {verdict}"


def _verdict(found: snapshot.Snapshot | None) -> str:
    if found is None:
        return "none that is fresh; the next create compiles"
    if not found.devices_at:
        return "fresh, settings only; the first create with devices compiles the CDI specs"
    changed = _changed(found)
    return f"stale: {', '.join(changed)} changed" if changed else "fresh"


def _changed(found: snapshot.Snapshot) -> list[str]:
    return [name for name, *numbers in _stamps(found) if (files.stamp(name) or []) != numbers]


def _stamps(found: snapshot.Snapshot) -> list[list[Any]]:
    end = found.data.index(b"\n", found.devices_at)
    stamps: list[list[Any]] = json.loads(found.data[found.devices_at : end])
    return stamps


def _devices(found: snapshot.Snapshot) -> list[tuple[str, str]]:
    """List the devices of a snapshot, each with its file; the format is that of `snapshot`."""
    files: dict[str, str] = {}
    devices: list[tuple[str, str]] = []
    for line in found.data[found.devices_at :].decode().splitlines()[1:]:
        name, number, _ = line.split("\t")
        if name[0] == "@":
            files[name[1:]] = json.loads(number)["file"]
        else:
            devices.append((name, files[number]))
    return devices


def _print_contents(found: snapshot.Snapshot) -> None:
    defaults = config.defaults()
    for key, value in found.settings.items():
        if value != defaults.get(key):
            print(f"setting       {key} = {json.dumps(value)}")
    files: dict[str, list[str]] = {}
    for name, file in _devices(found) if found.devices_at else ():
        files.setdefault(file, []).append(name)
    for file, names in files.items():
        print(f"spec          {file}: {', '.join(names)}")


def _names(folder: str, prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith(prefix))
    except (FileNotFoundError, NotADirectoryError):
        return []
