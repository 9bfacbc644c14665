# SPDX-License-Identifier: Apache-2.0
"""The driver's application profile that hides other GPUs from EGL and Vulkan in a container."""

import posix

from nvidia_runtime.rootfs import files, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = "/etc/nvidia/nvidia-application-profiles-rc.d"
NAME = "10-container.conf"
FOLDER_MODE, MODE = 0o555, 0o444
# The mask of EGLVisibleDGPUDevices has 64 bits.
MOST_MINORS = 64


def is_gpu(name: str) -> bool:
    """Whether a node's name in /dev is a GPU's."""
    digits = name[len("nvidia") :]
    return name.startswith("nvidia") and digits.isascii() and digits.isdigit()


def is_gpu_path(path: object) -> bool:
    """Whether a path is that of a GPU's node."""
    return type(path) is str and path.startswith("/dev/") and is_gpu(path[len("/dev/") :])


def text(minors: "Iterable[int]") -> bytes:
    """Return the file for these GPUs, b"" for none; the driver's form of it is not quite JSON."""
    mask = 0
    for minor in minors:
        if 0 <= minor < MOST_MINORS:
            mask |= 1 << minor
    if not mask:
        return b""
    setting = f'"EGLVisibleDGPUDevices",{mask:#x}'
    profile = f'"profiles":[{{"name":"_container_","settings":[{setting}]}}]'
    return f'{{{profile},"rules":[{{"pattern":[],"profile":"_container_"}}]}}'.encode()


def minors(root: resolver.Place) -> list[int]:
    """List the minor numbers of the GPUs whose nodes are in the container's /dev."""
    numbers = []
    try:
        with resolver.walk(root, "/dev") as dev:
            for name in filter(is_gpu, dev.names()):
                status = posix.stat(name, dir_fd=dev.descriptor, follow_symlinks=False)
                if status.st_mode & 0o170000 == 0o020000:
                    numbers.append(posix.minor(status.st_rdev))
    except (FileNotFoundError, NotADirectoryError):
        pass
    return sorted(numbers)


def write(root: resolver.Place, minors: "Iterable[int]") -> bool:
    """Write the profile for these GPUs, if any has room in it; say whether anything changed."""
    data = text(minors)
    if not data:
        return False
    with resolver.walk(root, "/etc", make=True):  # made as it usually is; what is below, as ours
        pass
    with resolver.walk(root, FOLDER, make=True, mode=FOLDER_MODE) as folder:
        return files.replace(folder, NAME, data, MODE)
