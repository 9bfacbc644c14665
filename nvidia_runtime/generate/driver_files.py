# SPDX-License-Identifier: Apache-2.0
"""The driver's files that every container gets: libraries, sockets, firmware, programs."""

from __future__ import annotations

import os

from nvidia_runtime.generate import entries, hooks, library_links
from nvidia_runtime.host import driver, library_set, platform
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nvidia_runtime.generate.options import Options
    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.machine import Machine

    Edits = dict[str, Any]

# Its version is that of a compiler, not of the driver.
NVVM = "libnvidia-nvvm70.so.*"
EXPLICIT_FLAG = "enable-explicit-driver-libraries"
# By the feature flag; glvnd and the OpenCL loader are seldom the driver's own.
EXPLICIT = (
    "libEGL.so",
    "libGL.so",
    "libGLESv1_CM.so",
    "libGLESv2.so",
    "libGLX.so",
    "libGLdispatch.so",
    "libOpenCL.so",
    "libOpenGL.so",
    "libnvidia-api.so*",  # packages have no link without a number
    "libnvidia-egl-xcb.so",
    "libnvidia-egl-xlib.so",
)
NO_IPC_FLAG = "disable-ipc-discoverer"
# The folder of MPS is only in specs on request: who reads these may not look whose it is by then.
MPS_FLAG = "enable-mps-pipes"
RUN_FOLDERS = ("/run", "/var/run")
SOCKETS = ("nvidia-persistenced/socket", "nvidia-fabricmanager/socket")
MPS = "/tmp/nvidia-mps"
# A socket is written to: it cannot be read-only.
SOCKET_OPTIONS = ("nosuid", "nodev", "rbind", "rprivate", "noexec")
FIRMWARE_PATH = "/sys/module/firmware_class/parameters/path"
FIRMWARE_FOLDERS = (
    "/lib/firmware/updates/{release}",
    "/lib/firmware/updates",
    "/lib/firmware/{release}",
    "/lib/firmware",
)
BINARIES = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
)
FOLDERS_VARIABLE = "NVIDIA_CTK_LIBCUDA_DIR"


def edits(options: Options, machine: Machine, version: str, warnings: list[str]) -> Edits:
    """Return the mounts, the variable that names the libraries' folders, and the hooks for them.

    ``version`` is the driver's; ``warnings`` gets those about libraries.  Raises
    `NvidiaRuntimeError` if these are not a set of that version.
    """
    installed = machine.driver
    warnings += library_set.check(installed, version)
    listed = libraries(installed, version, EXPLICIT_FLAG in options.flags)
    mounts = [entries.mount(path, installed.strip(path)) for path in listed]
    if NO_IPC_FLAG not in options.flags:
        mounts += ipc_mounts(machine)
        if MPS_FLAG in options.flags:
            mounts += [mount for mount in mps_mounts(machine) if files.is_own(mount["hostPath"])]
    mounts += firmware_mounts(machine, version)
    mounts += binary_mounts(machine)
    warnings += other_programs(machine, version)
    folders = driver.library_folders(installed, version)
    paths = [installed.strip(path) for path in listed]
    result: Edits = {
        "hooks": [
            *symlinks_hook(options, installed, listed, warnings),
            hooks.enable_cuda_compat(options.hook_program, version),
            *ldcache_hook(options, paths),
        ],
        "mounts": mounts,
    }
    if folders:
        result["env"] = [f"{FOLDERS_VARIABLE}={':'.join(folders)}"]
    return result


def libraries(installed: Driver, version: str, is_explicit: bool) -> list[str]:
    """Find the host paths of the driver's libraries, each once, by the version in their names."""
    paths: dict[str, None] = {}
    for folder in driver.library_folders(installed, version):
        for place in (folder, f"{folder}/vdpau"):
            path = driver_root.join(installed.root, place)
            names = driver_root.matches(installed.names(path), f"*.so.{version}")
            paths |= dict.fromkeys(installed.resolve(f"{path}/{name}") for name in names)
    for pattern in (NVVM, *(EXPLICIT if is_explicit else ())):
        paths |= dict.fromkeys(installed.libraries(pattern))
    paths.pop("", None)
    return list(paths)


def symlinks_hook(
    options: Options, installed: Driver, paths: Iterable[str], warnings: list[str]
) -> list[Edits]:
    """Return the hook for the links to libraries, by which the loader finds them."""
    links: list[tuple[str, str]] = []
    for path in paths:
        try:
            links += library_links.beside(path, installed.strip(path))
        except ValueError as error:
            warnings.append(f"{path} {error}: there will be no links to it in containers")
    return hooks.create_symlinks(options.hook_program, links)


def ldcache_hook(options: Options, paths: Iterable[str]) -> list[Edits]:
    """Return the hook that makes the loader's cache, for the libraries among container paths."""
    folders = dict.fromkeys(os.path.dirname(path) for path in paths if _is_library(path))
    if not folders:
        return []
    return [hooks.update_ldcache(options.hook_program, folders, options.ldconfig)]


def ipc_mounts(machine: Machine) -> list[Edits]:
    """Return the mounts of the sockets of NVIDIA's daemons."""
    root = machine.driver.root
    mounts = []
    for name in SOCKETS:
        for folder in RUN_FOLDERS:
            path = driver_root.join(root, f"{folder}/{name}")
            if driver_root.is_file(path, root):
                mounts.append(_ipc_mount(path, machine.driver))
                break
    return mounts


def mps_mounts(machine: Machine) -> list[Edits]:
    """Return the mount of the folder of MPS, be it there or not.

    Anybody may make a link of that name: whoever uses the mount has to look.
    """
    return [_ipc_mount(driver_root.join(machine.driver.root, MPS), machine.driver)]


def firmware_mounts(machine: Machine, version: str) -> list[Edits]:
    """Return the mounts of the firmware of the GPU's own processor, in all the kernel's folders."""
    mounts = []
    for folder in firmware_folders(machine, version):
        path = driver_root.join(machine.driver.root, folder)
        there = machine.driver.source(path)
        for name in driver_root.matches(driver_root.names(there) if there else [], "gsp*.bin"):
            file = f"{path}/{name}"
            if os.path.isfile(machine.driver.source(file)):
                mounts.append(entries.driver_mount(machine.driver, file))
    return mounts


def firmware_folders(machine: Machine, version: str) -> list[str]:
    """Return the folders, below the driver root, where the kernel looks for the firmware."""
    release = os.uname().release
    folders = [folder.format(release=release) for folder in FIRMWARE_FOLDERS]
    path = machine.kernel_root + FIRMWARE_PATH
    try:
        with open(path, encoding="utf-8") as file:
            custom = file.read().strip().rstrip("/")
    except ValueError:
        custom = ""
    except OSError as error:
        if not driver_root.is_missing(error) and not isinstance(error, PermissionError):
            raise driver_root.unreadable(path, error) from None
        custom = ""
    return [f"{folder}/nvidia/{version}" for folder in [*[custom] * bool(custom), *folders]]


def binary_mounts(machine: Machine) -> list[Edits]:
    """Return the mounts of the driver's programs."""
    paths = [machine.driver.executable(name) for name in BINARIES]
    return [entries.driver_mount(machine.driver, path) for path in paths if path]


def other_programs(machine: Machine, version: str) -> list[str]:
    """Return a warning for each program of another branch, as Debian's alternatives may choose.

    Their folder is like /usr/lib/nvidia/tesla-470.
    """
    warnings = []
    for path in filter(None, map(machine.driver.executable, BINARIES)):
        there = os.path.realpath(machine.driver.source(path))
        branch = os.path.basename(os.path.dirname(there)).rpartition("-")[2]
        is_branch = len(branch) == 3 and branch.isdigit()
        if is_branch and branch != version.partition(".")[0]:
            warnings.append(f"{path} is {there}, of another driver than {version}")
    return warnings


def watched(machine: Machine, version: str) -> list[str]:
    """Return the host's folders and files where these were looked for, present or not."""
    installed = machine.driver
    places = [f"{RUN_FOLDERS[0]}/{name}" for name in SOCKETS]
    places += [*firmware_folders(machine, version), *installed.executable_folders]
    folders = [driver_root.join(installed.root, place) for place in places]
    own = driver.library_folders(installed, version)
    folders += [driver_root.join(installed.root, f"{place}/vdpau") for place in own]
    cache = driver_root.join(installed.root, platform.CACHE)
    return [*installed.library_places(), cache, *folders]


def _ipc_mount(path: str, installed: Driver) -> Edits:
    source = installed.source(path) or path
    return {**entries.mount(source, installed.strip(path)), "options": list(SOCKET_OPTIONS)}


def _is_library(path: str) -> bool:
    """Whether a name is lib?….so or lib?….so.…, the only ones in the loader's cache."""
    name = path.rpartition("/")[2]
    before, dot_so, after = name.partition(".so")
    return bool(dot_so) and before[:3] == "lib" and len(before) > 3 and after[:1] in ("", ".")
