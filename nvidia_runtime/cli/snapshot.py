# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk snapshot: the compiled form of config.toml, the CDI specs and the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nvidia_runtime.cdi import registry
from nvidia_runtime.cli import screen
from nvidia_runtime.cli.command import Command, Configured
from nvidia_runtime.cli.tables import containers as tables
from nvidia_runtime.compile import config
from nvidia_runtime.compile import snapshot as compiler
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.store import files, lines, machine_file, snapshot
from nvidia_runtime.store.shortcut import PREFIX as SHORTCUT

SNAPSHOT = "snapshot-"
MACHINE = "machine-"
LATER = "the first create with devices compiles the CDI specs"


class Show(Configured):
    """nvidia-ctk snapshot show."""

    table = tables.SHOW
    format: str

    def main(self) -> int:
        """Print one fact a line, or JSON."""
        facts = describe(self.config_path())
        if self.format == "json":
            screen.print_json(facts)
            return 0
        absent = "" if facts["config_exists"] else " (absent: defaults)"
        print(f"state folder  {facts['state_folder'] or 'none that only this user can write'}")
        print(f"config        {facts['config']}{absent}")
        print(f"snapshot      {_verdict(facts)}")
        _print_contents(facts)
        for machine in facts["machines"]:
            print(f"machine       {_machine_text(machine)}")
        for shortcut in facts["shortcuts"]:
            print(f"shortcut      {shortcut['runtime']}  for {shortcut['key']}")
        print(f"records       {facts['records']}")
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
        _print_contents(_contents(compiled))
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


def describe(path: str) -> dict[str, Any]:
    """Return what is compiled for a config.toml, and what else is remembered."""
    folder = files.state_folder()
    compiled = snapshot.load(path)
    state, changed = "none", []
    if compiled:
        changed = _changed(compiled) if compiled.devices_at else []
        state = "stale" if changed else "fresh" if compiled.devices_at else "settings only"
    return {
        "state_folder": folder,
        "config": path,
        "config_exists": os.path.exists(path),
        "state": state,
        "changed": changed,
        **(_contents(compiled) if compiled else {"settings": {}, "specs": []}),
        "machines": [_machine(os.path.join(folder, name)) for name in _names(folder, MACHINE)],
        "shortcuts": [_shortcut(os.path.join(folder, name)) for name in _names(folder, SHORTCUT)],
        "records": len(_names(f"{folder}/containers", "")),
    }


def _machine(path: str) -> dict[str, Any]:
    """Return the devices, the mode, the config.toml and the state of a machine file."""
    try:
        data = files.read_own(path)
        header = json.loads(lines.opened(data[: data.index(b"\n")]))
        config_path, variant = header["key"][2], header["key"][4]
        is_fresh = machine_file.MachineFile(data, header["key"]).is_fresh()
    except (OSError, ValueError, LookupError, TypeError, NvidiaRuntimeError):
        return {"file": path, "problem": "cannot be read"}
    start = f"\n{machine_file.KIND}=".encode()
    names = [line.split("\t")[0] for line in data.decode().split(start.decode())[1:]]
    return {
        "file": path,
        "devices": names,
        "mode": variant,
        "config": config_path,
        "fresh": is_fresh,
    }


def _machine_text(machine: dict[str, Any]) -> str:
    if "problem" in machine:
        return f"{machine['file']}: {machine['problem']}"
    verdict = "fresh" if machine["fresh"] else "stale: the next create reads the machine"
    devices = ", ".join(machine["devices"])
    return f"{devices} (mode {machine['mode']}, {machine['config']}): {verdict}"


def _shortcut(path: str) -> dict[str, str]:
    text = Path(path).read_text(errors="replace")
    key, _, runtime = text.partition("\n")[0].rpartition(":")
    return {"runtime": runtime, "key": key}


def _verdict(facts: dict[str, Any]) -> str:
    return {
        "none": "none that is fresh; the next create compiles",
        "settings only": f"fresh, settings only; {LATER}",
        "stale": f"stale: {', '.join(facts['changed'])} changed",
        "fresh": "fresh",
    }[facts["state"]]


def _changed(compiled: snapshot.Snapshot) -> list[str]:
    stamps: list[list[Any]] = json.loads(_registry_lines(compiled)[0])
    return [name for name, *numbers in stamps if (files.stamp(name) or []) != numbers]


def _registry_lines(compiled: snapshot.Snapshot) -> list[str]:
    """Return the stamps, the specs and the devices, as `store.snapshot` describes them."""
    whole = compiled.data[compiled.devices_at :].splitlines()
    return [lines.opened(line).decode() for line in whole]


def _contents(compiled: snapshot.Snapshot) -> dict[str, Any]:
    """Return the settings that differ from the defaults, and the devices by their specs."""
    defaults = config.defaults()
    specs: dict[str, str] = {}
    devices: dict[str, list[str]] = {}
    for line in _registry_lines(compiled)[1:] if compiled.devices_at else ():
        name, origin, _ = line.split("\t")
        if name[0] == "@":
            specs[name[1:]] = json.loads(origin)["file"]
        else:
            devices.setdefault(specs[origin], []).append(name)
    settings = compiled.settings.items()
    return {
        "settings": {key: value for key, value in settings if value != defaults.get(key)},
        "specs": [{"file": file, "devices": names} for file, names in devices.items()],
    }


def _print_contents(contents: dict[str, Any]) -> None:
    for key, value in contents["settings"].items():
        print(f"setting       {key} = {json.dumps(value)}")
    for spec in contents["specs"]:
        print(f"spec          {spec['file']}: {', '.join(spec['devices'])}")


def _names(folder: str, prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith(prefix))
    except (FileNotFoundError, NotADirectoryError):
        return []
