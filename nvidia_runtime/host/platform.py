# SPDX-License-Identifier: Apache-2.0
"""Which mode ``auto`` means on this machine.  Ring: elsewhere."""

from __future__ import annotations

import os

LIBRARY_DIRS = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
)


def mode(root: str = "/") -> str:
    """Give ``csv`` on a Tegra system without NVML, ``jit-cdi`` on any other."""
    return "csv" if is_tegra(root) and not has_nvml(root) else "jit-cdi"


def is_tegra(root: str) -> bool:
    """Whether the system says that it is one of NVIDIA's SoCs."""
    if os.path.isfile(os.path.join(root, "etc/nv_tegra_release")):
        return True
    try:
        with open(os.path.join(root, "sys/devices/soc0/family"), errors="replace") as file:
            return file.read(64).lower().startswith("tegra")
    except OSError:
        return False


def has_nvml(root: str) -> bool:
    """Whether the driver's management library is installed."""
    return any(
        os.path.exists(os.path.join(root, folder, "libnvidia-ml.so.1")) for folder in LIBRARY_DIRS
    )
