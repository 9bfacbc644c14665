# SPDX-License-Identifier: Apache-2.0
"""A machine as far as a CDI spec needs it: its driver, where its nodes are, what NVML says.

Each is looked at when it is first asked for, and once.  Ring: elsewhere.
"""

from __future__ import annotations

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import driver, facts, mig, proc
from nvidia_runtime.host import root as driver_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.host.driver import Driver
    from nvidia_runtime.host.nvml import Answer

NVML = "libnvidia-ml.so.1"


class Machine:
    """A driver root, the root of its device nodes, and the kernel's /proc and /sys.

    ``kernel_root`` is empty but for a machine that is made of files.  ``patience`` is how many
    seconds NVML may take for one GPU.
    """

    __slots__ = ("_answer", "_minors", "_version", "dev_root", "driver", "kernel_root", "patience")

    def __init__(
        self, installed: Driver, dev_root: str = "", kernel_root: str = "", patience: float = 20.0
    ) -> None:
        self.driver = installed
        self.dev_root = dev_root or installed.root
        self.kernel_root = kernel_root.rstrip("/")
        self.patience = patience
        self._answer: Answer | None = None
        self._minors: str | None = None
        self._version = ""

    def has_nvml(self) -> bool:
        """Whether the driver's management library is installed."""
        return bool(self.driver.libraries(NVML))

    def nvml(self) -> Answer:
        """Ask NVML for its GPUs, once.  Raises `NvidiaRuntimeError` if it does not answer."""
        if self._answer is None:
            from nvidia_runtime.host import nvml  # only where /proc does not say enough

            found = self.driver.libraries(NVML)
            if not found:
                raise _no_nvml(self.driver.root)
            count = len(driver_root.names(self.kernel_root + proc.GPUS))
            self._answer = nvml.ask(found[0], self.patience, count)
        return self._answer

    def mig_minors(self) -> str:
        """Return the table of minor numbers of MIG instances, "" where there is none."""
        if self._minors is None:
            self._minors = mig.read_minors(self.kernel_root)
        return self._minors

    def version(self) -> str:
        """Return the driver's version, "" if nothing tells it.

        NVML is believed where it was asked; then the loaded module; then the names of libraries.
        """
        if not self._version:
            asked = self._answer.driver if self._answer else ""
            loaded = asked or facts.driver_version(self.kernel_root)
            self._version = loaded or driver.version(self.driver)
        return self._version

    def warnings(self) -> list[str]:
        """Return what NVML found odd, if it was asked."""
        return list(self._answer.warnings) if self._answer else []


def _no_nvml(root: str) -> NvidiaRuntimeError:
    hint = "install the driver there, or set the driver root (nvidia-container-cli.root)"
    return NvidiaRuntimeError(f"has no {NVML}: no driver is installed", where=root, hint=hint)
