# SPDX-License-Identifier: Apache-2.0
"""What a simulated machine has, as plain values, from which all its files are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuProfile:
    """A size that a GPU instance may have; ``enum`` is NVML's constant, ``id`` nvidia-smi's."""

    enum: int
    id: int
    slices: int
    instances: int
    multiprocessors: int
    memory_mib: int
    name: str


@dataclass(frozen=True, slots=True)
class ComputeProfile:
    """A size that a compute instance may have."""

    enum: int
    id: int
    slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """A compute instance in a GPU instance: their ids, profiles (NVML's constants) and place."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    gpu_profile: int
    compute_profile: int
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGpu:
    """A GPU, in NVML's order of indices; ``minor`` is the N of /dev/nvidiaN.

    That of a SoC (``integrated``) may not be on a PCI bus, and NVML knows little of it.  Clocks and
    the limit of power are the most of each, ``fan`` is a percentage, -1 without one; 0 stands for
    what NVML does not say.  ``recovery`` is what has to be done for it to work again.  ``card`` and
    ``render`` are the numbers of its DRM nodes, -1 if it has none.
    Without ``memory_mib`` NVML does not know how much there is: it is the CPU's.  One that
    ``is_elsewhere`` was given to others than the container that the machine is: the kernel's files
    list it, that is all.
    """

    uuid: str
    name: str
    minor: int
    memory_mib: int
    architecture: int
    brand: int
    compute_capability: str
    bus_id: str = ""
    pci_device_id: int = 0
    pci_subsystem_id: int = 0
    serial: str = ""
    mig: str = "unsupported"
    gpu_profiles: tuple[GpuProfile, ...] = ()
    compute_profiles: tuple[ComputeProfile, ...] = ()
    mig_devices: tuple[MigDevice, ...] = ()
    most_mig_devices: int = 7
    addressing: str = "unsupported"
    fabric_state: int = -1
    integrated: bool = False
    power_limit_w: int = 0
    clock_mhz: int = 0
    memory_clock_mhz: int = 0
    pcie_gen: int = 0
    bar1_mib: int = 0
    fan: int = -1
    vbios: str = ""
    ecc: str = "unsupported"
    recovery: str = "none"
    card: int = -1
    render: int = -1
    lost: bool = False
    pci_class: str = "0x030200"
    pci_driver: str = "nvidia"  # or vfio-pci
    is_elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """A PCI device or bridge; ``above`` are the bridges on the way to it, from the root port.

    ``ids`` are vendor and device, ``kind`` is the class; the place of a GPU has neither.  ``link``
    is the speed as sysfs writes it, ``node`` the NUMA node, ``net`` and ``rdma`` are names.
    ``driver`` is the kernel's, ``iommu_group`` -1 where no IOMMU is on.
    """

    address: str
    above: tuple[str, ...] = ()
    ids: str = ""
    kind: str = ""
    node: int = 0
    link: str = ""
    width: int = 16
    net: str = ""
    rdma: str = ""
    driver: str = ""
    iommu_group: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The NUMA nodes, by the CPUs of each, those with memory only, and the PCI devices."""

    cpus: tuple[str, ...] = ("0-7",)
    memory_nodes: tuple[int, ...] = ()
    devices: tuple[PciDevice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong in NVML, and how long it takes.

    ``fail`` are words such as ``nvmlDeviceGetUUID:15@3`` (function, result, index of the GPU), in
    ``hang`` and ``crash`` without the result; ``without`` are functions that the library lacks.
    ``without_code`` leaves all of them out, which takes no compiler.
    """

    fail: tuple[str, ...] = ()
    hang: tuple[str, ...] = ()
    crash: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    without_code: bool = False
    init_us: int = 0
    attach_us: int = 0
    call_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Majors:
    """The major numbers of the device nodes; the kernel assigns all but those of nvidia and drm."""

    nvidia: int = 195
    uvm: int = 511
    caps: int = 237
    imex: int = 234
    nvswitch: int = 236
    gds: int = 508
    gdrcopy: int = 507
    drm: int = 226
    infiniband: int = 231
    tegra: int = 505
    dxg: int = 10
    vfio: int = 241


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A file in place of the driver's own, or beside them.

    It is a text, or with ``link`` a symbolic link, with ``is_library`` a library without
    functions that has a SONAME or none, with ``major`` a character device.
    """

    path: str
    text: str = ""
    link: str = ""
    is_library: bool = False
    soname: str = ""
    major: int = -1
    minor: int = 0
    mode: int = 0o644
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedMachine:
    """A machine: its GPUs, its driver, and what else a driver or an administrator installs.

    ``reports`` are the public ones that its facts come from.  ``folder_32`` is the folder of the
    driver's libraries for 32-bit programs, "" without any; ``stores`` are those of the drivers of
    Windows, where it shares its GPUs.
    """

    name: str
    description: str
    gpus: tuple[SimulatedGpu, ...]
    driver: str = "580.95.05"
    module: str = ""  # the kernel module's version, where it is not the libraries'
    cuda: int = 13000
    architecture: str = "x86_64"
    kind: str = "pci"  # or tegra, or wsl
    loaded: bool = True
    nvswitches: int = 0
    imex_channels: tuple[int, ...] = ()
    gds_nodes: int = 0
    has_gdrcopy: bool = False
    has_mofed: bool = False
    has_fabric_manager: bool = False
    has_persistenced: bool = False
    is_vgpu: bool = False  # a guest of a hypervisor that divides GPUs
    folder_32: str = ""
    stores: tuple[str, ...] = ("nv_dispi.inf_amd64_0afec3f2050014a0",)
    reports: str = ""
    board: Board | None = None  # None: one NUMA node, and a root port for each GPU
    majors: Majors = Majors()
    faults: Faults = Faults()
    libraries: str = ""  # the folder of the driver's libraries, where it is not Debian's
    missing: tuple[str, ...] = ()  # files and folders that are not there
    files: tuple[PlacedFile, ...] = ()

    @property
    def drivers_gpus(self) -> tuple[SimulatedGpu, ...]:
        """Return the GPUs that the driver has."""
        return tuple(gpu for gpu in self.gpus if gpu.pci_driver == "nvidia")

    @property
    def own_gpus(self) -> tuple[SimulatedGpu, ...]:
        """Return the GPUs that can be used here, in NVML's order of indices."""
        return tuple(gpu for gpu in self.drivers_gpus if not gpu.is_elsewhere)

    @property
    def is_container(self) -> bool:
        """Whether this is a container that was given some of the GPUs of its host."""
        return any(gpu.is_elsewhere for gpu in self.gpus)

    @property
    def library_folder(self) -> str:
        """Return the folder of the driver's libraries."""
        if self.libraries:
            return self.libraries
        if self.kind == "wsl":
            return "/usr/lib/wsl/lib"
        folder = f"/usr/lib/{self.architecture}-linux-gnu"
        return f"{folder}/nvidia" if self.kind == "tegra" else folder

    @property
    def nvml_settings(self) -> str:
        """Return the path of the file that the simulated NVML takes its answers from."""
        return f"{self.library_folder}/mock-nvml.conf"

    @property
    def module_version(self) -> str:
        """Return the version that the kernel module has."""
        return self.module or self.driver
