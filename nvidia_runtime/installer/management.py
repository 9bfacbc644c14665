# SPDX-License-Identifier: Apache-2.0
"""The CDI spec for managers of GPUs, with the host's paths, and the driver's control nodes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.cdi import transform
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine, output
from nvidia_runtime.generate.options import Options as Generation
from nvidia_runtime.host import device_nodes
from nvidia_runtime.installer import tree, wrappers
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.installer.options import Driver, Options


def is_wanted(options: Options) -> bool:
    """Whether there is a spec to write, or a node to make."""
    return options.devices.is_on


def driver() -> str:
    """Return the version of the driver that is loaded, "" for none."""
    return files.loaded_driver()


def path_of(options: Options) -> str:
    """Return the path of the spec."""
    name = options.devices.kind.replace("/", "-")
    return f"{options.devices.folder.rstrip('/')}/{name}.yaml"


def make_nodes(options: Options, say: Callable[[str], None]) -> None:
    """Make the nodes that belong to no single GPU, unless they are there."""
    if any(mode in ("none", "") for mode in options.devices.nodes) or not options.devices.nodes:
        return
    root = _dev_here(options.driver)
    for path, numbers in device_nodes.control(device_nodes.majors()).items():
        if device_nodes.make(root, path, numbers):
            say(f"made {root.rstrip('/')}{path}")


def write(options: Options, warn: Callable[[str], None]) -> list[str]:
    """Write the spec; return its path and digest."""
    place = options.driver
    vendor, _, kind = options.devices.kind.partition("/")
    wanted = Generation("management")
    wanted.path = wrappers.FOLDERS
    wanted.driver_root, wanted.dev_root = place.here or "/", _dev_here(place)
    wanted.vendor, wanted.device_class = vendor, kind
    wanted.hook_program = f"{options.installation.toolkit}/{wrappers.CDI_HOOK}"
    generated = machine.generate(wanted)
    for warning in generated.warnings:
        warn(warning)
    spec = generated.spec
    roots = {_dev_here(place): place.dev_root or place.root, place.here: place.root}
    hook = wanted.hook_program
    for here, there in roots.items():
        spec = transform.root(spec, here or "/", there or "/", "host")
    _name_hook(spec, hook)
    path = path_of(options)
    data = output.encode(spec, path)
    output.write(path, data)
    return [path, tree.digest(data.decode())]


def _name_hook(spec: dict[str, object], hook: str) -> None:
    """Name our hook again, which is no file of the driver's, whatever its root is."""
    edits = spec.get("containerEdits")
    hooks = edits.get("hooks") if isinstance(edits, dict) else None
    for entry in hooks or ():
        entry["path"] = hook


def _dev_here(place: Driver) -> str:
    return place.dev_here or place.here or "/"


def remove(spec: list[str], warn: Callable[[str], None]) -> None:
    """Remove the spec that we wrote, unless somebody has changed it."""
    if len(spec) < 2 or not os.path.exists(spec[0]):
        return
    try:
        with open(spec[0], encoding="utf-8") as file:
            is_ours = tree.digest(file.read()) == spec[1]
        if is_ours:
            os.unlink(spec[0])
        else:
            warn(f"{spec[0]} was changed since and stays")
    except (OSError, ValueError) as error:
        raise NvidiaRuntimeError(f"cannot be removed: {error}", spec[0]) from None
