# SPDX-License-Identifier: Apache-2.0
"""What OpenGL, EGL, Vulkan and X.org need beyond the driver's libraries, and the DRM devices."""

from __future__ import annotations

import os

from nvidia_runtime.generate import entries, hooks
from nvidia_runtime.host import driver, drm
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nvidia_runtime.host.driver import Driver

    Edits = dict[str, Any]

# These have versions of their own; the names of all others have the driver's.
PLATFORM_LIBRARIES = (
    "libnvidia-egl-gbm.so.*.*",
    "libnvidia-egl-wayland.so.*.*",
    "libnvidia-egl-wayland2.so.*.*",
    "libnvidia-egl-xcb.so.*.*",
    "libnvidia-egl-xlib.so.*.*",
)
ALLOCATOR = "libnvidia-allocator.so"
VULKAN_PRODUCER = "libnvidia-vulkan-producer.so"
GLX_SERVER = "libglxserver_nvidia.so"
X_DRIVER = "nvidia_drv.so"
# Mounted below /usr/share, wherever the host has them.
SHARED_CONFIGS = (
    "glvnd/egl_vendor.d/10_nvidia.json",
    "egl/egl_external_platform.d/15_nvidia_gbm.json",
    "egl/egl_external_platform.d/10_nvidia_wayland.json",
    "egl/egl_external_platform.d/09_nvidia_wayland2.json",
    "egl/egl_external_platform.d/20_nvidia_xcb.json",
    "egl/egl_external_platform.d/20_nvidia_xlib.json",
    "nvidia/nvoptix.bin",
    "X11/xorg.conf.d/10-nvidia.conf",
    "X11/xorg.conf.d/nvidia-drm-outputclass.conf",
)
# Mounted below /etc.
OPENCL_CONFIG = "OpenCL/vendors/nvidia.icd"
VULKAN_CONFIGS = (
    "vulkan/icd.d/nvidia_icd.json",
    "vulkan/icd.d/nvidia_layers.json",
    "vulkan/implicit_layer.d/nvidia_layers.json",
)
# The name in packages of RPM-based distributions.
VULKAN_CONFIG_OF_MACHINE = "vulkan/icd.d/nvidia_icd.{}.json"
MACHINES = ("x86_64", "aarch64")
X_CONFIGURATOR = "nvidia-xconfig"


def edits(installed: Driver, version: str, program: str) -> Edits:
    """Return the mounts of libraries, X.org modules and configuration, and the hook for links.

    ``version`` is the driver's, ``program`` the hook's; missing files are left out.
    """
    libraries = find_libraries(installed, version)
    modules = find_x_modules(installed, version)
    mounts = [entries.mount(path, installed.strip(path)) for path in libraries]
    mounts += config_mounts(installed)
    configurator = installed.executable(X_CONFIGURATOR)
    mounts += [entries.mount(source, path) for path, source in modules.items()]
    mounts += [entries.driver_mount(installed, configurator)] if configurator else []
    allocators = installed.libraries(f"{ALLOCATOR}.{version}")
    linked = [installed.strip(path) for path in (*allocators, *libraries)]
    result = {
        "hooks": hooks.create_symlinks(program, links((*linked, *modules), version)),
        "mounts": mounts,
    }
    return {name: value for name, value in result.items() if value}


def find_libraries(installed: Driver, version: str) -> list[str]:
    """Find the libraries to mount; every container gets the allocator anyway."""
    patterns = (*PLATFORM_LIBRARIES, f"{VULKAN_PRODUCER}.{version}")
    return [path for pattern in patterns for path in installed.libraries(pattern)]


def find_x_modules(installed: Driver, version: str) -> dict[str, str]:
    """Find the X.org driver and its GLX module: paths in a container to those on the host.

    Of the module there may be the link alone where X.org looks, as with Debian's alternatives.
    """
    folders = driver.x_folders(installed, version)
    module = f"{GLX_SERVER}.{version}"
    paths = [installed.file(folders, name) for name in (X_DRIVER, module)]
    modules = {installed.strip(path): installed.source(path) for path in paths if path}
    link = "" if paths[1] else installed.file(folders, GLX_SERVER)
    file = installed.resolve(link) if link else ""
    if os.path.basename(file) == module:
        modules[f"{os.path.dirname(installed.strip(link))}/{module}"] = file
    return modules


def missing_module(installed: Driver, version: str) -> list[str]:
    """Return a warning if there is an X.org driver without the GLX module that it loads."""
    names = [os.path.basename(path) for path in find_x_modules(installed, version)]
    if names != [X_DRIVER]:
        return []
    return [f"{installed.root}: has {X_DRIVER} and no {GLX_SERVER}.{version}: no OpenGL by X.org"]


def watched(installed: Driver, version: str) -> list[str]:
    """Return the host's folders where configuration and X.org's modules were looked for.

    Of a missing folder, the topmost that is missing.
    """
    names = (*SHARED_CONFIGS, OPENCL_CONFIG, *VULKAN_CONFIGS)
    below = dict.fromkeys(os.path.dirname(name) for name in names)
    places = [f"{root.rstrip('/')}/{name}" for root in installed.config_folders for name in below]
    places += [
        driver_root.join(installed.root, path) for path in driver.x_folders(installed, version)
    ]
    return list(dict.fromkeys(_first_missing(place) for place in places))


def _first_missing(folder: str) -> str:
    """Return a folder, or the topmost missing one above it."""
    above = os.path.dirname(folder)
    while folder != above and not os.path.exists(above):
        folder, above = above, os.path.dirname(above)
    return folder


def config_mounts(installed: Driver) -> list[Edits]:
    """Return the mounts of the driver's configuration of EGL, OpenCL, Vulkan and X.org."""
    files = [(installed.config(name), f"/usr/share/{name}") for name in SHARED_CONFIGS]
    files.append((installed.config(OPENCL_CONFIG), f"/etc/{OPENCL_CONFIG}"))
    machine = os.uname().machine
    names = [*VULKAN_CONFIGS, *[VULKAN_CONFIG_OF_MACHINE.format(machine)] * (machine in MACHINES)]
    for name in names:
        files.append((installed.config(name) or installed.file(("/",), name), f"/etc/{name}"))
    return [entries.driver_mount(installed, path, inside) for path, inside in files if path]


def drm_edits(
    bus_ids: list[str], sysfs: str, dev_root: str, program: str, with_gids: bool = True
) -> Edits:
    """Return the DRM nodes of GPUs, and the hook for the links to them in /dev/dri/by-path.

    ``sysfs`` is the kernel's /sys, ``dev_root`` where the nodes are.
    """
    devices = []
    links: list[tuple[str, str]] = []
    for bus_id in bus_ids:
        nodes = drm.find(bus_id, sysfs, dev_root)
        devices += nodes
        links += drm.links(bus_id, nodes, dev_root)
    result = entries.of_nodes(devices, with_gids)
    if links:
        result["hooks"] = hooks.create_symlinks(program, links)
    return result


def links(paths: Iterable[str], version: str) -> list[tuple[str, str]]:
    """Return the links that libraries and modules need beside them, each with its target."""
    return [link for path in paths for link in _links(path, version)]


def _links(path: str, version: str) -> list[tuple[str, str]]:
    folder, _, name = path.rpartition("/")
    if name == f"{ALLOCATOR}.{version}":
        system, below = _system_folder(folder)
        return [(f"{system}/gbm/nvidia-drm_gbm.so", f"../{below}{ALLOCATOR}.1")]
    for base in (VULKAN_PRODUCER, GLX_SERVER):
        if name == f"{base}.{version}":
            return [(f"{folder}/{base}", name)]
    return []


def _system_folder(folder: str) -> tuple[str, str]:
    """Return the folder of libraries in which others look, and the rest of the path below it.

    A driver may lie in a folder of its own, as nvidia/current of Debian's alternatives.
    """
    system, separator, below = f"{folder}/".partition("/nvidia/")
    if separator and {"lib", "lib64"} & set(system.split("/")):
        return system, f"nvidia/{below}"
    return folder, ""
