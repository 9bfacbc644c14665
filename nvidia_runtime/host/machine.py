# SPDX-License-Identifier: Apache-2.0
"""A machine as far as a CDI spec needs it: its driver, where its nodes are, what NVML says.

Each is looked at once, when it is first asked for.
"""

from __future__ import annotations

import math
import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import driver, mig, platform, proc
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.nvml import Inventory


class Machine:
    """A driver root, the root of its device nodes, and the kernel's /proc and /sys.

    ``kernel_root`` is empty except for a machine that is made of files.  ``patience`` is how many
    seconds NVML may take for one GPU, ``limit`` for all of them.
    """

    __slots__ = (
        "_inventory",
        "_minors",
        "_version",
        "dev_root",
        "driver",
        "kernel_root",
        "limit",
        "patience",
    )

    def __init__(
        self, installed: Driver, dev_root: str = "", kernel_root: str = "", patience: float = 20.0
    ) -> None:
        self.driver = installed
        self.dev_root = dev_root or installed.root
        self.kernel_root = kernel_root.rstrip("/")
        self.patience = patience
        self.limit = math.inf
        self._inventory: Inventory | None = None
        self._minors: str | None = None
        self._version = ""

    def has_nvml(self) -> bool:
        """Whether the driver's management library is installed."""
        return bool(self.driver.libraries(platform.NVML))

    def nvml(self) -> Inventory:
        """Ask NVML for its GPUs, once.  Raises `NvidiaRuntimeError` if it does not answer."""
        if self._inventory is None:
            from nvidia_runtime.host import nvml  # only where /proc does not say enough

            libraries = self.driver.libraries(platform.NVML)
            if not libraries:
                raise _no_nvml(self.driver.root)
            count = len(driver_root.names(self.kernel_root + proc.GPUS))
            self._inventory = nvml.ask(libraries[0], self.patience, count, self.limit)
        return self._inventory

    def mig_minors(self) -> str:
        """Return the table of minor numbers of MIG instances, "" if there is none."""
        if self._minors is None:
            self._minors = mig.read_minors(self.kernel_root)
        return self._minors

    def version(self) -> str:
        """Return the driver's version, "" if it is unknown.

        It is NVML's if NVML was asked, else the loaded module's, else that of the libraries.
        """
        if not self._version:
            asked = self._inventory.driver if self._inventory else ""
            loaded = asked or files.loaded_driver(self.kernel_root)
            self._version = loaded or driver.version(self.driver)
        return self._version

    def warnings(self) -> list[str]:
        """Return the warnings about NVML, if it was asked."""
        return list(self._inventory.warnings) if self._inventory else []


def auto_mode(host: Machine | None = None) -> str:
    """Return the mode that ``auto`` means, by asking NVML, which may take seconds.

    ``host`` is this host if it was looked at before: then it is not asked a second time.
    """
    host = host or Machine(Driver("/"))
    return platform.CSV if kind(host) == "tegra" else platform.JIT


def kind(machine: Machine) -> str:
    """Return the kind of a machine: wsl, tegra, nvml, or unknown."""
    root = machine.driver.root.rstrip("/")
    if platform.is_wsl(root):
        return "wsl"
    node = machine.dev_root.rstrip("/") + platform.NODE
    if os.path.lexists(node) and machine.driver.libraries(platform.DXCORE):
        return "wsl"
    if not machine.has_nvml():
        return "tegra" if platform.is_tegra(root, machine.kernel_root) else "unknown"
    if platform.is_soc(root, machine.kernel_root) and _has_integrated_gpu(machine):
        return "tegra"
    return "nvml"


def _has_integrated_gpu(machine: Machine) -> bool:
    try:
        return any(platform.is_integrated(gpu.name) for gpu in machine.nvml().gpus)
    except NvidiaRuntimeError:
        return False


def _no_nvml(root: str) -> NvidiaRuntimeError:
    hint = "install the driver there, or set the driver root (nvidia-container-cli.root)"
    what = f"has no {platform.NVML}: no driver is installed"
    return NvidiaRuntimeError(what, where=root, hint=hint)
