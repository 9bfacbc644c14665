# SPDX-License-Identifier: Apache-2.0
"""What 32-bit programs (Steam, Wine, Proton) need of the driver: the capability compat32."""

from __future__ import annotations

from nvidia_runtime.generate import driver_files, entries, graphics, hooks
from nvidia_runtime.host import compat32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.machine import Machine

    Edits = dict[str, Any]

NAME = "compat32"
# By it a spec gives the libraries to every container; else a container has to ask for them.
FLAG = "enable-compat32-libraries"
# Of packages for i386 on RPM-based distributions: it names the library without a folder, as the
# 64-bit one does.
VULKAN_CONFIG = "vulkan/icd.d/nvidia_icd.i686.json"


def edits(options: Options, machine: Machine, version: str, warnings: list[str]) -> Edits:
    """Return the mounts of 32-bit libraries and the hooks for them, empty if there are none."""
    installed = machine.driver
    libraries = compat32.libraries(installed, version, graphics.PLATFORM_LIBRARIES)
    if not libraries:
        return {}
    paths = [installed.strip(path) for path in libraries]
    mounts = [entries.mount(path, inside) for path, inside in zip(libraries, paths, strict=True)]
    config = installed.config(VULKAN_CONFIG)
    if config:
        mounts.append(entries.driver_mount(installed, config, f"/etc/{VULKAN_CONFIG}"))
    return {
        "hooks": [
            *hooks.create_symlinks(options.hook_program, graphics.links(paths, version)),
            *driver_files.symlinks_hook(options, installed, libraries, warnings),
            *driver_files.ldcache_hook(options, paths),
        ],
        "mounts": mounts,
    }
