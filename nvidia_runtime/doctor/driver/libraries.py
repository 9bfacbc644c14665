# SPDX-License-Identifier: Apache-2.0
"""The driver's libraries: whether they are there, where we look, and of one version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.driver import places
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.host import driver, facts, ldcache, library_set, platform
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

CUDA, NVML = facts.VERSIONED
# What the loader searches without a cache; Debian's also the folders of an architecture.
ALWAYS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
MULTIARCH = "-linux-gnu"


MISMATCH = Code(
    "NCT-0121",
    ERROR,
    "the driver's libraries are of another version than the loaded kernel module",
    """
    The driver was updated, often by unattended upgrades, and the old kernel module is still loaded.
    nvidia-smi says "Failed to initialize NVML: Driver/library version mismatch", CUDA returns error
    803, nvidia-container-cli says "initialization error: nvml error: driver/library version
    mismatch".
    """,
    """
    Restart the machine.  Without a restart: end all that uses a GPU (lsof /dev/nvidia*, the
    display, nvidia-persistenced, dcgm), then rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia, and
    modprobe nvidia.  To avoid it: hold the driver's packages back from automatic updates.
    """,
)
NO_CUDA = Code(
    "NCT-0124",
    ERROR,
    "libcuda is not installed",
    """
    libnvidia-ml is there, so nvidia-smi works, but libcuda is not, or not of the loaded version.
    CUDA programs in containers fail: "CUDA driver library not found", "libcuda.so.1: cannot open
    shared object file", torch.cuda.is_available() is False.
    """,
    """
    Install the package of the driver that has it, in the same version: libcuda1 (Debian),
    libnvidia-compute-... (Ubuntu), nvidia-driver-cuda-libs or xorg-x11-drv-nvidia-cuda-libs
    (Fedora).
    """,
)
UPDATING = Code(
    "NCT-0125",
    WARNING,
    "the driver is being updated",
    """
    Libraries of a newer version came in the last minute.  What is generated now would be kept, so
    it is refused.
    """,
    """
    Wait until the package manager has ended, then restart the machine.
    """,
)
SIDE_BY_SIDE = Code(
    "NCT-0126",
    WARNING,
    "libraries of several versions of the driver are installed side by side",
    """
    Beside those of the loaded version there are others: left by NVIDIA's installer when packages
    took over, or the other way round; or an update was broken off.  Containers get those of the
    loaded version, and lack what is there for another one alone.
    """,
    """
    Remove the other version by what installed it: nvidia-uninstall for NVIDIA's installer, else the
    package manager ('dpkg -S PATH' or 'rpm -qf PATH' says which package has a file).
    """,
)
UNREADABLE = Code(
    "NCT-0130",
    ERROR,
    "a folder of the driver's libraries cannot be listed",
    """
    It is there, and the kernel refuses to list it: a broken disk, a network file system that has
    gone, or permissions.  What lies in it would be missing in containers, so they are refused.
    """,
    """
    List it with ls, and look into dmesg.
    """,
)
LINK_MISSING = Code(
    "NCT-0131",
    WARNING,
    "the links to the driver's libraries are missing or lead to another version",
    """
    Programs load libcuda.so.1 and libnvidia-ml.so.1, which are links to the libraries of the loaded
    version.  Without them programs of the host fail ("libnvidia-ml.so.1: cannot open shared object
    file"); where they lead to another version, nvidia-smi says "Driver/library version mismatch".
    Containers get links of their own, but what asks NVML on the host fails: nvidia-ctk cdi
    generate, MIG devices, Kubernetes' device plugin.
    """,
    """
    ldconfig makes the links; it takes the newest of several versions, so remove the others.  On
    Debian update-alternatives --config nvidia chooses among drivers.
    """,
)
CODES = (MISMATCH, NO_CUDA, UPDATING, SIDE_BY_SIDE, UNREADABLE, LINK_MISSING)


def check(subject: Subject, version: str) -> Iterator[Said]:
    """Look at the libraries for a loaded version; the lists of a SoC say which it has."""
    root = subject.driver_root or "/"
    installed = Driver(root)
    try:
        if not places.has_driver(installed):
            yield places.find(subject, installed)
        elif not platform.is_soc(""):
            yield from _judge(installed, version)
    except NvidiaRuntimeError as error:
        yield Finding(code=UNREADABLE, what=error.what, where=error.where)


def _judge(installed: Driver, version: str) -> Iterator[Said]:
    """Judge the libraries by the one rule of what a set is."""
    root = installed.root
    has_cuda = bool(driver.main_libraries(installed, CUDA, version))
    others = _other_versions(installed, version)
    try:
        warnings = library_set.check(installed, version)
    except NvidiaRuntimeError as error:
        if has_cuda and driver.main_libraries(installed, NVML, version):
            yield Finding(code=UPDATING, what=error.what, where=error.where, command="reboot")
        elif others:
            what = f"the kernel module is {version}, the libraries are {some(others)}"
            where = _folder(installed, others[0]) or root
            yield Finding(code=MISMATCH, what=what, where=where, command="reboot")
        else:
            yield Finding(code=places.NO_LIBRARIES, what=error.what, where=error.where)
        return
    folder = _folder(installed, version)
    if not has_cuda:
        what = f"there is {NVML}{version} and no {CUDA}{version}: {files.NO_CUDA}"
        yield Finding(code=NO_CUDA, what=what, where=folder)
    for warning in warnings:
        if files.NO_CUDA not in warning:
            yield Finding(code=SIDE_BY_SIDE, what=warning, where=folder)
    if others:
        what = f"{version} is loaded; there are libraries of {some(others)}, too"
        where = _folder(installed, others[0])
        yield Finding(code=SIDE_BY_SIDE, what=what, where=where, severity=NOTE)
    yield from _links(installed, version)
    if has_cuda:
        yield Fine(f"libraries of {version} in {folder}")
        yield from _outside_cache(installed, folder)


def _links(installed: Driver, version: str) -> Iterator[Said]:
    """Look where the links lead by which programs load the libraries."""
    for prefix in facts.VERSIONED:
        if not driver.main_libraries(installed, prefix, version):
            continue
        targets = [os.path.basename(path) for path in installed.libraries(f"{prefix}1")]
        if f"{prefix}{version}" not in targets:
            leads = f"leads to {some(targets)}" if targets else "is not there"
            folder = _folder(installed, version)
            what = f"{prefix}1 {leads}; {version} is loaded"
            command = "ldconfig" if installed.root == "/" else f"chroot {installed.root} ldconfig"
            yield Finding(code=LINK_MISSING, what=what, where=folder, command=command)


def _other_versions(installed: Driver, version: str) -> list[str]:
    libraries = [p for prefix in facts.VERSIONED for p in installed.libraries(f"{prefix}*.*")]
    versions = map(facts.library_version, libraries)
    return [one for one in dict.fromkeys(versions) if one not in ("", version)]


def _folder(installed: Driver, version: str) -> str:
    """Return the folder of a version's libcuda or libnvidia-ml."""
    for prefix in facts.VERSIONED:
        for path in driver.main_libraries(installed, prefix, version):
            return os.path.dirname(path)
    return ""


def _outside_cache(installed: Driver, folder: str) -> Iterator[Said]:
    """Say that only we find the libraries, since we know the usual folders."""
    if installed.root != "/" or not os.path.exists(platform.CACHE):
        return
    cached = [path for path in ldcache.paths("") if os.path.basename(path) == f"{CUDA}1"]
    is_searched = folder.endswith(MULTIARCH) or _real(folder) in map(_real, ALWAYS)
    if is_searched or any(map(os.path.exists, cached)):
        return
    what = f"/etc/ld.so.cache lacks {CUDA}1: the host's own programs do not find {folder}"
    code, place = places.OUTSIDE_CACHE, platform.CACHE
    yield Finding(code=code, what=what, where=place, command="ldconfig", severity=NOTE)


def _real(folder: str) -> str:
    return os.path.realpath(folder)
