# SPDX-License-Identifier: Apache-2.0
"""Engines that inject CDI devices themselves: whether one does, and what comes of names if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvidia_runtime.engines import difference

if TYPE_CHECKING:
    from nvidia_runtime.engines.difference import Document
    from nvidia_runtime.engines.engine import Engine, Places, Version

# Where all engines look for CDI specs unless their files say otherwise.
SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")


def is_on(engine: Engine, version: Version, setting: bool | None) -> bool | None:
    """Whether an engine injects CDI devices itself; None where its version is not known.

    ``setting`` is what its files say, None where they are silent.
    """
    if not version:
        return setting
    if is_too_old(engine, version):
        return False
    return version >= engine.cdi_by_default if setting is None else setting


def is_too_old(engine: Engine, version: Version) -> bool:
    """Whether a version of an engine has no CDI that could be switched on."""
    return bool(version) and version < engine.cdi_versions[0][0]


def spec_dirs(document: Document, places: Places) -> tuple[str, ...]:
    """Return the folders in which an engine looks for CDI specs."""
    folders = difference.at(document, places.spec_dirs) if places.spec_dirs else ()
    if not isinstance(folders, list):
        return SPEC_DIRS
    return tuple(folder for folder in folders if isinstance(folder, str) and folder) or SPEC_DIRS


def note(engine: Engine, version: Version, setting: bool | None) -> str:
    """Say what comes of CDI names in an engine that does not take them, and what to do about it."""
    if not version or is_on(engine, version, setting):
        return ""
    if is_too_old(engine, version):
        since = ".".join(map(str, engine.cdi_versions[0][0]))
        return (
            f"{engine.name} takes names like nvidia.com/gpu=0 since {since};"
            " with this version NVIDIA_VISIBLE_DEVICES may have them, for our runtime"
        )
    return (
        f"CDI is off in {engine.name}: {engine.without_cdi}; 'nvidia-ctk runtime configure"
        f" --runtime={engine.name} --cdi.enabled' and a restart switch it on"
    )
