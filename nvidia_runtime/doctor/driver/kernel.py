# SPDX-License-Identifier: Apache-2.0
"""The loaded kernel modules: those beside nvidia, and the GPUs that they drive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.driver import absence
from nvidia_runtime.doctor.finding import (
    ERROR,
    NOTE,
    WARNING,
    Code,
    Finding,
    Fine,
    Skipped,
)
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.generate import driver_files
from nvidia_runtime.host import device_nodes, driver, facts, nodes, pci, platform, proc, processes
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.host.pci import PciGpu

VERSION_FILE = absence.VERSION_FILE
DRM_MODULE = "/sys/module/nvidia_drm"
# "Supported drivers" of NVIDIA's documentation of its container toolkit: 418.81.07.
OLDEST = (418, 81, 7)
OPEN = "Open Kernel Module"
FIRMWARE = "gsp"
# Device ids grow with the architectures: the first of Turing, and the first of Blackwell.
TURING, BLACKWELL = 0x1E00, 0x2900
GRACE_HOPPER = 0x2342
SWITCHES = "/dev/nvidia-nvswitch*"
FABRIC_MANAGER = "nv-fabricmanager"
FABRIC_SOCKET = "/run/nvidia-fabricmanager/socket"

NO_UVM = Code(
    "NCT-0141",
    ERROR,
    "the kernel module nvidia-uvm is not loaded",
    """
    CUDA needs it, for memory that CPU and GPU share.  nvidia-smi works without it, but cuInit
    returns 999, "CUDA unknown error - this may be due to an incorrectly set up environment", or
    "no CUDA-capable device is detected".  It is loaded by nvidia-modprobe when the first CUDA
    program of the host runs, in no container.
    """,
    """
    modprobe nvidia-uvm, and name it in /etc/modules-load.d/nvidia.conf so that each boot does.
    Then nvidia-ctk system create-device-nodes --control-devices makes its nodes.
    """,
)
TOO_OLD = Code(
    "NCT-0142",
    WARNING,
    "the driver is older than what containers are supported with",
    """
    NVIDIA supports containers from 418.81.07 on; images of CUDA 12 and 13 need 525 and 580 unless
    they have the compatibility libraries.
    """,
    """
    Install a newer driver that still supports the GPU.
    """,
)
FLAVOUR = Code(
    "NCT-0143",
    ERROR,
    "the GPU needs the other kind of kernel module",
    """
    NVIDIA's driver has open kernel modules, for GPUs from Turing on, and proprietary ones.  Grace
    Hopper, Blackwell and later need the open ones ("requires use of the NVIDIA open kernel modules"
    in dmesg); Volta, Pascal and Maxwell the proprietary ones.  nvidia-smi says "No devices were
    found".
    """,
    """
    Install the other kind in the same version (nvidia-open or nvidia-driver-...-open; the installer
    takes --kernel-module-type=open or proprietary), and restart the machine.
    """,
)
NOT_DRIVEN = Code(
    "NCT-0144",
    ERROR,
    "the loaded driver does not drive a GPU of this machine",
    """
    The GPU is on the PCI bus, and the driver has not taken it: this version supports it not yet or
    no more, another driver was set for it, it failed to start, or it was unbound by hand.  dmesg
    says which, in lines such as "NVRM: The NVIDIA GPU ... installed in this system is supported
    through the NVIDIA 470.xx Legacy drivers" or "RmInitAdapter failed".
    """,
    """
    Follow what dmesg says.  After an unbind: echo ADDRESS > /sys/bus/pci/drivers/nvidia/bind.
    """,
)
NO_DRM = Code(
    "NCT-0145",
    NOTE,
    "the kernel module nvidia-drm is not loaded",
    """
    It makes the nodes in /dev/dri, by which Vulkan, EGL and Wayland find a GPU; CUDA needs none of
    them.
    """,
    """
    modprobe nvidia-drm modeset=1, and a file in /etc/modprobe.d with 'options nvidia-drm
    modeset=1'.
    """,
)
NO_FABRIC_MANAGER = Code(
    "NCT-0146",
    ERROR,
    "the fabric manager does not run, though there are NVSwitches",
    """
    GPUs that are joined by NVSwitches cannot be used before nvidia-fabricmanager has set up the
    fabric: cuInit returns 802, "system not yet initialized"; nvidia-smi shows them as if nothing
    were wrong, and 'nvidia-smi -q' says "Fabric State: In Progress".
    """,
    """
    Install nvidia-fabricmanager in exactly the driver's version and start it: systemctl enable
    --now nvidia-fabricmanager.  'journalctl -u nvidia-fabricmanager' says why it does not start.
    """,
)
NO_FIRMWARE = Code(
    "NCT-0147",
    WARNING,
    "the firmware of the GPUs' own processor is missing",
    """
    The open kernel modules load it whenever a GPU starts: gsp_*.bin in
    /lib/firmware/nvidia/VERSION. A GPU that runs goes on; at its next start the driver says
    "RmFetchGspRmImages failed" or "cannot load GSP firmware", and nvidia-smi "No devices were
    found".
    """,
    """
    Install it in the loaded version: firmware-nvidia-gsp (Debian), nvidia-firmware-... (Ubuntu),
    nvidia-kmod-common (Fedora).
    """,
)
CODES = (NO_UVM, TOO_OLD, FLAVOUR, NOT_DRIVEN, NO_DRM, NO_FABRIC_MANAGER, NO_FIRMWARE)


def check(version: str) -> Iterator[Said]:
    """Look at the modules of a loaded driver, and at its GPUs."""
    numbers = tuple(map(int, version.split(".")))
    if numbers < OLDEST:
        what = f"{version} is loaded, the oldest is {'.'.join(f'{n:02}' for n in OLDEST)}"
        yield Finding(code=TOO_OLD, what=what, where=VERSION_FILE)
    if device_nodes.UVM not in _majors():
        what = f"{device_nodes.DEVICES} does not list {device_nodes.UVM}"
        command = "modprobe nvidia-uvm && nvidia-ctk system create-device-nodes --control-devices"
        yield Finding(code=NO_UVM, what=what, where=device_nodes.DEVICES, command=command)
    yield from _gpus(version)
    yield from _fabric()


def _majors() -> dict[str, int]:
    try:
        return device_nodes.majors()
    except NvidiaRuntimeError:
        return {}


def _gpus(version: str) -> Iterator[Said]:
    """Compare the GPUs on the bus with those that the driver lists."""
    on_bus = pci.gpus()
    driven = {proc.bus_id(name) for name in driver_root.names(proc.GPUS)}
    left = [gpu for gpu in on_bus if gpu.address not in driven]
    severity = "" if not driven else WARNING
    if not on_bus and not driven:
        what = f"the driver is loaded, and no device in {pci.DEVICES} is one"
        yield Finding(code=absence.NO_GPU, what=what, where=pci.DEVICES)
    for name, report in (
        (absence.VFIO, absence.vfio),
        (absence.NOUVEAU, absence.nouveau),
    ):
        if held := [gpu for gpu in left if gpu.driver == name]:
            finding = report(held)
            # Others are given to containers, and these are kept on purpose.
            weight = NOTE if driven and name == absence.VFIO else severity
            yield Finding(
                code=finding.code,
                what=finding.what,
                where=finding.where,
                command=finding.command,
                severity=weight,
            )
    yield from _not_driven(left, version, severity)
    has_display = any(gpu.has_display for gpu in on_bus if gpu.address in driven)
    if has_display and not os.path.isdir(DRM_MODULE):
        what = f"{DRM_MODULE} is not there"
        yield Finding(code=NO_DRM, what=what, where=DRM_MODULE, command="modprobe nvidia-drm")


def _is_open() -> bool:
    """Whether the open kernel modules are loaded."""
    return OPEN in (files.read_text(VERSION_FILE) or "").partition("\n")[0]


def firmware(subject: Subject, version: str) -> Iterator[Said]:
    """Look for the firmware where the kernel does, and below the driver root."""
    machine = Machine(Driver(subject.driver_root or "/"))
    # After an update the loaded version has neither, and that is said of the libraries.
    if not driver.main_libraries(machine.driver, facts.VERSIONED[1], version):
        return
    if not _is_open() or platform.is_soc(""):
        return
    folders = driver_files.firmware_folders(machine, version)
    roots = dict.fromkeys(("", subject.driver_root))
    places = [driver_root.join(root, folder) for root in roots for folder in folders]
    for place in places:
        if any(name.startswith(FIRMWARE) for name in driver_root.names(place)):
            return
    what = (
        f"the open kernel modules of {version} are loaded, and {places[-1]} has no {FIRMWARE}*.bin"
    )
    yield Finding(code=NO_FIRMWARE, what=what, where=places[-1])


def _not_driven(left: list[PciGpu], version: str, severity: str) -> Iterator[Said]:
    """Say why GPUs that nobody keeps on purpose are not the driver's, those of a kind at once."""
    is_open = _is_open()
    kinds: dict[tuple[bool, str], list[PciGpu]] = {}
    for gpu in left:
        needs_open = gpu.device >= BLACKWELL or gpu.device == GRACE_HOPPER
        is_unfit = (needs_open and not is_open) or (gpu.device < TURING and is_open)
        if gpu.driver not in (absence.VFIO, absence.NOUVEAU):
            kinds.setdefault((is_unfit, gpu.driver), []).append(gpu)
    for (is_unfit, holder), gpus in kinds.items():
        place = f"{pci.DEVICES}/{gpus[0].address}"
        named = some([f"{gpu.address} (10de:{gpu.device:04x})" for gpu in gpus])
        if is_unfit:
            loaded, needed = ("open", "proprietary") if is_open else ("proprietary", "open")
            what = f"{version} is loaded in its {loaded} kind, the {needed} one is for {named}"
            yield Finding(code=FLAVOUR, what=what, where=place, severity=severity)
            continue
        by = f"the driver {holder} has" if holder else "no driver has"
        what = f"{by} {named}, and {version} does not list it"
        command = f"dmesg | grep -e NVRM -e {gpus[0].address}"
        yield Finding(code=NOT_DRIVEN, what=what, where=place, command=command, severity=severity)


def _fabric() -> Iterator[Said]:
    """Look for the fabric manager where there are NVSwitches."""
    switches = nodes.find("", SWITCHES)
    numbered = [node for node in switches if node.path[-1].isdigit()]
    if not numbered:
        return
    count = "one NVSwitch" if len(numbered) == 1 else f"{len(numbered)} NVSwitches"
    if os.path.lexists(FABRIC_SOCKET) or processes.is_running(FABRIC_MANAGER):
        yield Fine(f"{count} with a fabric manager")
    elif not processes.sees_all():
        yield Skipped("the fabric manager", "its process cannot be seen from a container")
    else:
        what = f"there are {count} ({some([node.path for node in numbered])})"
        what += f", and no process {FABRIC_MANAGER}"
        command = "systemctl enable --now nvidia-fabricmanager"
        yield Finding(code=NO_FABRIC_MANAGER, what=what, where=FABRIC_SOCKET, command=command)
