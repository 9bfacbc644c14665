# SPDX-License-Identifier: Apache-2.0
"""``--load-kmods``: the driver's kernel modules and nodes, where they are missing."""

import posix

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.store import files

# Without them something is missing: NVML makes nodes of GPUs only.
NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-modeset")


def prepare(root: str) -> list[str]:
    """Load and make what is missing; return what could not be, which need not matter.

    Where all is there, nothing is started.  In a user namespace nothing could be made.
    """
    if (files.loaded_driver() and all(map(_exists, NODES))) or posix.geteuid():
        return []
    from nvidia_runtime.host import device_nodes, kernel_modules  # once after a boot
    from nvidia_runtime.linux import namespaces

    if not namespaces.are_users_initial():
        return []
    problems = []
    for command in kernel_modules.commands(root):
        try:
            kernel_modules.load(command)
        except NvidiaRuntimeError as error:
            problems.append(str(error))
    try:
        for path, numbers in device_nodes.possible().items():
            device_nodes.make(root, path, numbers)
    except (NvidiaRuntimeError, OSError) as error:
        problems.append(str(error))
    return problems


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True
