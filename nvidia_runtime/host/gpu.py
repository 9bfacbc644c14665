# SPDX-License-Identifier: Apache-2.0
"""A GPU and its MIG devices, as the kernel driver or NVML describes them."""

from __future__ import annotations

# GPUs for a display, not for computing.
DISPLAYS = ("DGX Display", "NVIDIA DGX Display")


class Mig:
    """A MIG device: a compute instance of a GPU instance; ``index`` is its number on its GPU."""

    __slots__ = ("compute_instance", "gpu_instance", "has_graphics", "index", "problem", "uuid")

    def __init__(self, index: int) -> None:
        self.index = index
        self.uuid = ""
        self.gpu_instance = -1
        self.compute_instance = -1
        self.has_graphics = False
        self.problem = ""


class Gpu:
    """A GPU; what is not known is "" or -1, and ``problem`` is a sentence if it is not usable.

    ``is_silent`` is whether NVML crashed or hung when it was asked about it; ``failure`` is the
    function that failed, with its result, as in nvmlDeviceGetUUID:15.
    ``minor`` is the N of /dev/nvidiaN, ``bus_id`` the PCI bus id as sysfs writes it.
    ``is_coherent`` is whether it shares the page tables of the CPU; ``None`` if that is not known.
    ``architecture`` is the compute capability, and ``brand`` a word; only NVML knows them.
    """

    __slots__ = (
        "architecture",
        "brand",
        "bus_id",
        "failure",
        "index",
        "is_coherent",
        "is_mig",
        "is_silent",
        "migs",
        "minor",
        "name",
        "problem",
        "uuid",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.uuid = ""
        self.minor = -1
        self.bus_id = ""
        self.name = ""
        self.architecture = ""
        self.brand = ""
        self.is_mig = False
        self.migs: tuple[Mig, ...] = ()
        self.is_coherent: bool | None = None
        self.is_silent = False
        self.failure = ""
        self.problem = ""

    def is_display(self) -> bool:
        """Whether it is not meant for computing."""
        return self.name in DISPLAYS
