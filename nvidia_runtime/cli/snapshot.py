# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk snapshot: the compiled form of config.toml, the CDI specs and the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nvidia_runtime.cdi import registry
from nvidia_runtime.cli.command import Command, Configured
from nvidia_runtime.cli.tables import containers as tables
from nvidia_runtime.compile import config
from nvidia_runtime.compile import snapshot as compiler
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files, lines, machine_file, snapshot
from nvidia_runtime.store.shortcut import PREFIX as SHORTCUT

SNAPSHOT = "snapshot-"
MACHINE = "machine-"


class Show(Configured):
    """nvidia-ctk snapshot show."""

    table = tables.SHOW
    format: str

    def main(self) -> int:
        """Print one fact a line."""
        path = self.config_path()
        folder = files.state_folder()
        print(f"state folder  {folder or 'none that only this user can write'}")
        print(f"config        {path}{'' if os.path.exists(path) else ' (absent: defaults)'}")
        compiled = snapshot.load(path)
        print(f"snapshot      {_verdict(compiled)}")
        if compiled:
            _print_contents(compiled)
        for name in _names(folder, MACHINE):
            print(f"machine       {_machine(os.path.join(folder, name))}")
        for name in _names(folder, SHORTCUT):
            text = Path(folder, name).read_text(errors="replace")
            key, _, runtime = text.partition("\n")[0].rpartition(":")
            print(f"shortcut      {runtime}  for {key}")
        print(f"records       {len(_names(f'{folder}/containers', ''))}")
        return 0


class Rebuild(Configured):
    """nvidia-ctk snapshot rebuild."""

    table = tables.REBUILD

    def main(self) -> int:
        """Compile, and print the contents and the errors of specs."""
        path = self.config_path()
        compiled = compiler.registry(compiler.settings(path))
        for error in registry.read(compiled.settings[snapshot.SPEC_DIRS]).errors:
            print(f"warning       {error}")
        _print_contents(compiled)
        if snapshot.load(path) is None:
            raise NvidiaRuntimeError(
                "the snapshot could not be stored; every create compiles again",
                where=files.state_folder() or files.SYSTEM_FOLDER,
                hint="try again if a spec was just written; otherwise make the folder writable",
            )
        return 0


class Drop(Command):
    """nvidia-ctk snapshot drop."""

    table = tables.DROP

    def main(self) -> int:
        """Remove the files; the records of containers stay."""
        folder = files.state_folder()
        prefixes = (SNAPSHOT, MACHINE, SHORTCUT)
        for name in [name for prefix in prefixes for name in _names(folder, prefix)]:
            path = os.path.join(folder, name)
            try:
                os.unlink(path)
            except OSError as error:
                raise NvidiaRuntimeError(os_reason(error), path) from None
            print(f"removed {path}")
        return 0


def _machine(path: str) -> str:
    """Return the devices, the mode, the config.toml and the state of a machine file."""
    try:
        data = files.read_own(path)
        header = json.loads(lines.opened(data[: data.index(b"\n")]))
        config_path, variant = header["key"][2], header["key"][4]
        machine = machine_file.MachineFile(data, header["key"])
        verdict = "fresh" if machine.is_fresh() else "stale: the next create reads the machine"
    except (OSError, ValueError, LookupError, TypeError, NvidiaRuntimeError):
        return f"{path}: cannot be read"
    start = f"\n{machine_file.KIND}=".encode()
    names = [line.split("\t")[0] for line in data.decode().split(start.decode())[1:]]
    return f"{', '.join(names)} (mode {variant}, {config_path}): {verdict}"


def _verdict(compiled: snapshot.Snapshot | None) -> str:
    if compiled is None:
        return "none that is fresh; the next create compiles"
    if not compiled.devices_at:
        return "fresh, settings only; the first create with devices compiles the CDI specs"
    changed = _changed(compiled)
    return f"stale: {', '.join(changed)} changed" if changed else "fresh"


def _changed(compiled: snapshot.Snapshot) -> list[str]:
    stamps: list[list[Any]] = json.loads(_registry_lines(compiled)[0])
    return [name for name, *numbers in stamps if (files.stamp(name) or []) != numbers]


def _registry_lines(compiled: snapshot.Snapshot) -> list[str]:
    """Return the stamps, the specs and the devices, as `store.snapshot` describes them."""
    whole = compiled.data[compiled.devices_at :].splitlines()
    return [lines.opened(line).decode() for line in whole]


def _print_contents(compiled: snapshot.Snapshot) -> None:
    defaults = config.defaults()
    for key, value in compiled.settings.items():
        if value != defaults.get(key):
            print(f"setting       {key} = {json.dumps(value)}")
    specs: dict[str, str] = {}
    devices: dict[str, list[str]] = {}
    for line in _registry_lines(compiled)[1:] if compiled.devices_at else ():
        name, origin, _ = line.split("\t")
        if name[0] == "@":
            specs[name[1:]] = json.loads(origin)["file"]
        else:
            devices.setdefault(specs[origin], []).append(name)
    for file, names in devices.items():
        print(f"spec          {file}: {', '.join(names)}")


def _names(folder: str, prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith(prefix))
    except (FileNotFoundError, NotADirectoryError):
        return []
