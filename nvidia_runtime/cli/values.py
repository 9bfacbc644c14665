# SPDX-License-Identifier: Apache-2.0
"""What a switch or an argument may be, by the name in its table, for help and completion.

Each is asked where it is kept, and only when it is needed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FILES, FOLDERS = "files", "folders"


def of(name: str, begin: str = "") -> list[str]:
    """Return the values that a name stands for; ``begin`` is what has been written of one."""
    return SOURCES[name](begin) if name in SOURCES else []


def _engines(_begin: str) -> list[str]:
    from nvidia_runtime.engines import supported

    return list(supported.NAMES)


def _restarts(_begin: str) -> list[str]:
    return ["ask", "none", "signal", "systemd"]


def _generators(_begin: str) -> list[str]:
    from nvidia_runtime.generate import machine

    return ["auto", *machine.MODULES]


def _strategies(_begin: str) -> list[str]:
    from nvidia_runtime.generate import naming

    return list(naming.STRATEGIES)


def _features(_begin: str) -> list[str]:
    from nvidia_runtime.generate import options

    return list(options.FLAGS)


def _verbs(_begin: str) -> list[str]:
    from nvidia_runtime.prepare import verbs

    return list(verbs.VERBS)


def _hooks(_begin: str) -> list[str]:
    from nvidia_runtime.generate import hooks

    return [*hooks.NAMES, hooks.ALL]


def _cdi_versions(_begin: str) -> list[str]:
    from nvidia_runtime.cdi import versions

    return ["content", "engines", *versions.VERSIONS]


def _gpus(_begin: str) -> list[str]:
    """Return the indices of this machine's GPUs, as the kernel names them."""
    import os

    try:
        count = len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        count = 0
    return [*map(str, range(count)), "all", "none"]


def _machines(_begin: str) -> list[str]:
    from nvidia_runtime.simulate import catalogue

    return [machine.name for machine in catalogue.machines()]


def _devices(_begin: str) -> list[str]:
    """Return the CDI devices of the snapshot; specs are read only where there is none."""
    from nvidia_runtime.store import files, snapshot

    compiled = snapshot.load(files.config_path())
    if compiled and compiled.devices_at:
        rows = compiled.data[compiled.devices_at :].splitlines()[1:]
        names = [row.partition(b"\t")[0].decode(errors="replace") for row in rows]
        return sorted(name for name in names if "=" in name and name[0] != "@")
    from nvidia_runtime.cdi import registry  # YAML
    from nvidia_runtime.compile import config  # TOML

    dirs = list(config.load(files.config_path())[0][snapshot.SPEC_DIRS])
    return sorted(registry.read(dirs).devices)


def _containers(begin: str) -> list[str]:
    """Return the names of containers, and the ids of those that have none, or begin so."""
    from pathlib import Path

    from nvidia_runtime.containers.records import Records
    from nvidia_runtime.store import files

    folder = files.state_folder()
    entries = Records(Path(folder, "containers") if folder else None).entries()
    names = {entry.names[0] if entry.names else entry.container for entry in entries}
    ids = {entry.container for entry in entries if begin and entry.container.startswith(begin)}
    return sorted(names | ids)


def _schema() -> dict[str, dict[str, Any]]:
    """Return what the schema of config.toml says of each setting, by its name in full."""
    from nvidia_runtime import schemas

    return dict(schemas.settings(schemas.schema("config")))


def _settings(_begin: str) -> list[str]:
    keys = _schema()
    tables = {key.rpartition(".")[0] for key in keys} - {""}
    return sorted([*keys, *tables])


def _assignments(begin: str) -> list[str]:
    """Return the settings; behind a setting and ``=`` what it may be."""
    settings = _schema()
    key, equals, _ = begin.partition("=")
    if not equals:
        return [f"{name}=" for name in settings]
    setting = settings.get(key, {})
    booleans = ["true", "false"] if setting.get("type") == "boolean" else []
    choices: Any = setting.get("enum") or setting.get("examples") or booleans
    flat = [
        part for choice in choices for part in (choice if isinstance(choice, list) else [choice])
    ]
    return [f"{key}={choice}" for choice in flat]


def _attacks(_begin: str) -> list[str]:
    from nvidia_runtime.selftest import attack

    return sorted({candidate.number for candidate in attack.read_all()})


def _codes(_begin: str) -> list[str]:
    """List the codes of doctor, and the engines that it can try."""
    from nvidia_runtime.doctor import examination, trial

    return [*examination.codes(), *trial.NAMES]


def _fixed(*names: str) -> Callable[[str], list[str]]:
    return lambda _begin: list(names)


SOURCES: dict[str, Callable[[str], list[str]]] = {
    "assignments": _assignments,
    "attacks": _attacks,
    "cdi-versions": _cdi_versions,
    "codes": _codes,
    "config-modes": _fixed("config-file", "oci-hook"),
    "containers": _containers,
    "devices": _devices,
    "engines": _engines,
    "features": _features,
    "generators": _generators,
    "gpus": _gpus,
    "hooks": _hooks,
    "machines": _machines,
    "restarts": _restarts,
    "settings": _settings,
    "shells": _fixed("bash", "zsh", "fish"),
    "sides": _fixed("host", "container"),
    "sources": _fixed("file", "command"),
    "spec-formats": _fixed("yaml", "json"),
    "strategies": _strategies,
    "verbs": _verbs,
}
