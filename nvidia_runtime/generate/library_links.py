# SPDX-License-Identifier: Apache-2.0
"""The links beside a library in a container: its SONAME and names without a version.

A mount brings the file alone, and ldconfig makes links only where it runs.
"""

from __future__ import annotations

import os

from nvidia_runtime.host import root as driver_root
from nvidia_runtime.rootfs import elf

# Links that programs expect even if the host lacks them: target, "" for the library, and name.
FIXED = {
    "libcuda.so.*.*": ("libcuda.so.1", "libcuda.so"),
    "libGLX_nvidia.so.*.*": ("", "libGLX_indirect.so.0"),
    "libnvidia-opticalflow.so.*.*": ("libnvidia-opticalflow.so.1", "libnvidia-opticalflow.so"),
}
VERSIONED = "*.*.*"


def beside(host_path: str, path: str) -> list[tuple[str, str]]:
    """Return the links that belong beside a library: paths in the container and targets.

    Those by SONAME only if the host has them.  Raises `ValueError` for any other file.
    """
    folder, _, name = path.rpartition("/")
    links = [
        (f"{folder}/{link}", target or name)
        for pattern, (target, link) in FIXED.items()
        if driver_root.is_match(name, pattern)
    ]
    if driver_root.is_match(name, VERSIONED):
        links += _by_soname(host_path, folder, name)
    return links


def _by_soname(host_path: str, folder: str, name: str) -> list[tuple[str, str]]:
    soname = _soname(host_path)
    host_folder = os.path.dirname(host_path)
    links = []
    if soname and soname != name and os.path.islink(f"{host_folder}/{soname}"):
        links.append((f"{folder}/{soname}", name))
    base = name.partition(".so")[0] + ".so"
    if soname and os.path.islink(f"{host_folder}/{base}"):
        links.append((f"{folder}/{base}", soname))
    return links


def _soname(host_path: str) -> str:
    try:
        descriptor = os.open(host_path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:  # since it was listed, which is noticed in the end
        return ""
    except PermissionError:
        raise ValueError("cannot be read by this user") from None
    except OSError as error:
        raise driver_root.unreadable(host_path, error) from None
    try:
        identity = elf.identify(descriptor)
    finally:
        os.close(descriptor)
    if not identity:
        raise ValueError("is not a shared library")
    return identity.soname.decode("utf-8", "surrogateescape")
