# SPDX-License-Identifier: Apache-2.0
"""A container of an image that has a machine's files becomes that machine.

The image has what a driver installs; what a container has of the kernel and of its own is made when
it starts, in its own mount namespace, so that all that runs in it later is on the machine, too.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import mount
from nvidia_runtime.simulate import build, description, namespace
from nvidia_runtime.simulate import tree as trees
from nvidia_runtime.simulate.tree import Tree

MACHINE = "/etc/nvidia-simulated-machine/machine.toml"
# A container's own, or with the name of the kernel in the path.
MADE = ("/dev", "/run", "/lib/modules")


def become() -> str:
    """Make nodes and sockets, and cover /proc and /sys; return the machine's name.

    It may be done again: what is there stays.
    """
    if not os.path.exists(MACHINE):
        what = "this is no container of an image that 'nvidia-ctk simulate --image' has written"
        raise NvidiaRuntimeError(what, hint="--write and '-- COMMAND' work anywhere")
    machine = description.read(MACHINE)
    files = trees.below(build.without_code(machine), *MADE) | build.marks(machine)
    kernel = build.kernel(machine)
    try:
        mount.mount("tmpfs", namespace.STAGE, "mode=755")
        try:
            namespace.bind_kernel_files(kernel, "")
        finally:
            mount.detach(namespace.STAGE)
        trees.write(_new(files), "")
    except OSError as error:
        raise namespace.failed(error) from error
    return machine.name


def of_image(files: Tree) -> Tree:
    """Return what an image has of a driver's files."""
    return trees.outside(files, *MADE)


def _new(files: Tree) -> Tree:
    return {path: entry for path, entry in files.items() if not os.path.lexists(path)}
