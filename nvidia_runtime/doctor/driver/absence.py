# SPDX-License-Identifier: Apache-2.0
"""Why the driver's kernel module is not loaded, as far as the machine tells."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, Code, Finding
from nvidia_runtime.errors import some
from nvidia_runtime.host import module_files, pci

if TYPE_CHECKING:
    from nvidia_runtime.host.pci import PciGpu

VERSION_FILE = "/proc/driver/nvidia/version"
VFIO, NOUVEAU = "vfio-pci", "nouveau"
# What writes the initramfs, from which nouveau is loaded before anything else.
INITRAMFS = (
    ("update-initramfs", "update-initramfs -u"),
    ("dracut", "dracut --force"),
    ("mkinitcpio", "mkinitcpio -P"),
)
BLACKLIST = "/etc/modprobe.d/blacklist-nouveau.conf"

NOT_LOADED = Code(
    "NCT-0101",
    ERROR,
    "the driver's kernel module is not loaded",
    """
    /proc/driver/nvidia/version is not there, though the module was built for this kernel.
    nvidia-smi says "couldn't communicate with the NVIDIA driver", nvidia-container-cli says
    "initialization error: nvml error: driver not loaded".
    """,
    """
    'modprobe nvidia' loads it, or says why not; dmesg says more, in its lines with NVRM.  "Key was
    rejected by service" is Secure Boot: enrol the key that signed it, with mokutil.  "No such
    device" is a GPU that this version of the driver does not support, or that another driver has.
    """,
)
NO_GPU = Code(
    "NCT-0102",
    ERROR,
    "there is no NVIDIA GPU on this machine",
    """
    No device of NVIDIA's on the PCI bus is a GPU, and this is neither Windows' Subsystem for Linux
    nor a Tegra system.  In a virtual machine no GPU was passed through.
    """,
    """
    lspci -d 10de: lists NVIDIA's devices.  Give the virtual machine a GPU, or choose an instance
    type that has one; a GPU that has vanished from a real machine comes back with a cold start, or
    is broken or not seated.  To try things without one: nvidia-ctk simulate.
    """,
)
HAS_NOUVEAU = Code(
    "NCT-0103",
    ERROR,
    "nouveau has the GPU",
    """
    The kernel's own driver for NVIDIA's GPUs, nouveau, was loaded first; NVIDIA's module cannot
    have the GPU then ("modprobe: ERROR: could not insert 'nvidia': No such device").
    """,
    """
    Keep nouveau out by a file in /etc/modprobe.d with 'blacklist nouveau' and 'options nouveau
    modeset=0', write the initramfs anew, and restart the machine.
    """,
)
HAS_VFIO = Code(
    "NCT-0104",
    ERROR,
    "the GPU is kept for virtual machines",
    """
    The driver vfio-pci has it, which passes devices through to virtual machines: by a setting of
    vfio-pci.ids on the kernel's command line or in /etc/modprobe.d, by libvirt, or by the GPU
    Operator's vfio-manager.  No container of this machine can have such a GPU, unless its runtime
    makes a virtual machine for it, as Kata does.
    """,
    """
    Use it in a virtual machine ('nvidia-ctk cdi generate --mode=vfio' describes it for Kata and
    KubeVirt); or give it back: driverctl unset-override ADDRESS, or take away the
    setting and restart the machine.
    """,
)
NOT_INSTALLED = Code(
    "NCT-0105",
    ERROR,
    "the driver's kernel module is not installed",
    """
    /lib/modules has no nvidia.ko, neither for the kernel that runs nor for another one.  CUDA and
    its container images do not bring it: it belongs to the machine.
    """,
    """
    Install the driver by the distribution's packages (on Ubuntu 'ubuntu-drivers install', on Debian
    nvidia-driver, on Fedora akmod-nvidia of RPM Fusion) or by those of NVIDIA.  If the driver lives
    in a container (the GPU Operator), that container does not run.
    """,
)
OTHER_KERNEL = Code(
    "NCT-0106",
    ERROR,
    "the driver's kernel module was built for another kernel",
    """
    After an update of the kernel there is no module for the one that runs: DKMS lacked the kernel's
    headers, its build failed, or the packages of module and kernel do not fit.  modprobe says
    "FATAL: Module nvidia not found in directory /lib/modules/...".
    """,
    """
    Install the headers of the kernel that runs (linux-headers-$(uname -r), kernel-devel) and build
    the module: 'dkms autoinstall', or install the driver again; /var/lib/dkms/nvidia has the log.
    Or restart with the older kernel.
    """,
)
BLACKLISTED = Code(
    "NCT-0107",
    ERROR,
    "a setting keeps the driver's kernel module out",
    """
    A line of modprobe's settings or of the kernel's command line forbids to load nvidia:
    'blacklist nvidia' keeps it from being loaded by itself, 'install nvidia /bin/false' by anybody.
    prime-select intel, bumblebee and guides for passthrough write such lines.
    """,
    """
    Take the line away, write the initramfs anew, and load the module: modprobe nvidia.
    """,
)
UNSIGNED = Code(
    "NCT-0108",
    ERROR,
    "Secure Boot refuses the driver's kernel module",
    """
    The firmware has Secure Boot on, and the module bears no signature: the kernel does not load it
    ("Key was rejected by service", "Required key not available", "module verification failed").
    """,
    """
    Sign it with a key of this machine's owner, and enrol the key: 'mokutil --import', then restart.
    DKMS signs what it builds with /var/lib/dkms/mok.pub (Ubuntu: /var/lib/shim-signed/mok).  Or use
    the signed modules of the distribution, or switch Secure Boot off.
    """,
)
CODES = (
    *(NOT_LOADED, NO_GPU, HAS_NOUVEAU, HAS_VFIO, NOT_INSTALLED, OTHER_KERNEL, BLACKLISTED),
    UNSIGNED,
)


def find() -> Finding:
    """Return the reason that comes first: what follows from it is not said."""
    gpus = pci.gpus()
    if not gpus:
        what = f"none of the devices in {pci.DEVICES} is one"
        return Finding(code=NO_GPU, what=what, where=pci.DEVICES, command="lspci -d 10de:")
    drivers = {gpu.driver for gpu in gpus}
    if drivers == {VFIO}:
        return vfio(gpus)
    if NOUVEAU in drivers:
        return nouveau([gpu for gpu in gpus if gpu.driver == NOUVEAU])
    release = os.uname().release
    file = module_files.path(release)
    return _refused(file) if file else _missing(release)


def vfio(gpus: list[PciGpu]) -> Finding:
    """Return what is wrong with GPUs that are kept for virtual machines."""
    place = f"{pci.DEVICES}/{gpus[0].address}/driver"
    command = f"driverctl unset-override {gpus[0].address}"
    if not shutil.which("driverctl"):
        device, bus = f"{pci.DEVICES}/{gpus[0].address}", os.path.dirname(pci.DEVICES)
        command = f"echo {gpus[0].address} > {device}/driver/unbind && "
        command += (
            f"echo > {device}/driver_override && echo {gpus[0].address} > {bus}/drivers_probe"
        )
    return Finding(
        code=HAS_VFIO, what=f"vfio-pci has {_addresses(gpus)}", where=place, command=command
    )


def nouveau(gpus: list[PciGpu]) -> Finding:
    """Return what is wrong with GPUs that nouveau has."""
    writers = [command for program, command in INITRAMFS if shutil.which(program)]
    text = r"blacklist nouveau\noptions nouveau modeset=0\n"
    command = " && ".join([f"printf '{text}' > {BLACKLIST}", *writers[:1], "reboot"])
    place = f"{pci.DEVICES}/{gpus[0].address}/driver"
    return Finding(
        code=HAS_NOUVEAU, what=f"it has {_addresses(gpus)}", where=place, command=command
    )


def _missing(release: str) -> Finding:
    place = f"{module_files.MODULES}/{release}"
    kernels = module_files.kernels()
    if not kernels:
        what = f"there is no nvidia.ko for {release}, the kernel that runs, nor for another one"
        command = "ubuntu-drivers install" if shutil.which("ubuntu-drivers") else ""
        return Finding(code=NOT_INSTALLED, what=what, where=place, command=command)
    what = f"{release} runs, for which there is no nvidia.ko; there is one for {some(kernels)}"
    command = "dkms autoinstall && modprobe nvidia" if shutil.which("dkms") else ""
    return Finding(code=OTHER_KERNEL, what=what, where=place, command=command)


def _refused(file: str) -> Finding:
    """Return what keeps a module out that is there."""
    for block in module_files.blocks():
        path, _, number = block.where.partition(":")
        what = f"'{block.line}' stands there"
        command = f"sed -i '{number}s/^/# /' {path} && modprobe nvidia" if number else ""
        return Finding(code=BLACKLISTED, what=what, where=block.where, command=command)
    if module_files.has_secure_boot():
        if module_files.is_unsigned(file):
            what = "it has no signature, and Secure Boot is on"
            command = "mokutil --sb-state; modprobe nvidia"
            return Finding(code=UNSIGNED, what=what, where=file, command=command)
        what = f"{file} is there; Secure Boot is on, and may refuse it"
        return Finding(code=NOT_LOADED, what=what, where=VERSION_FILE, command="modprobe nvidia")
    what = f"there is no module 'nvidia', but its file is there: {file}"
    return Finding(code=NOT_LOADED, what=what, where=VERSION_FILE, command="modprobe nvidia")


def _addresses(gpus: list[PciGpu]) -> str:
    return some([gpu.address for gpu in gpus])
