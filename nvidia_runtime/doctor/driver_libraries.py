# SPDX-License-Identifier: Apache-2.0
"""The driver's libraries: whether they are there, where we look, and of one version."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.host import driver, facts, ldcache, library_set, platform
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import DRIVER_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

CUDA, NVML = facts.VERSIONED
# Where a driver lies as a whole: the GPU Operator's and Google's container, and what a host may be
# in a container.
ROOTS = ("/run/nvidia/driver", "/home/kubernetes/bin/nvidia", "/host", "/driver-root")
FOLDERS_32 = ("/usr/lib/i386-linux-gnu", "/usr/lib32", "/usr/lib", "/lib/i386-linux-gnu")
# Where libraries were seen that no loader knows; LD_LIBRARY_PATH is looked at, too.
STRAYS = tuple(
    f"{folder}/{name}"
    for folder in ("/usr/local/nvidia", "/opt/nvidia", "/usr/lib/nvidia", "/usr/lib64/nvidia")
    for name in ("lib64", "lib", "")
)
# What the loader searches without a cache; Debian's also the folders of an architecture.
ALWAYS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
MULTIARCH = "-linux-gnu"
LOADER_FILE = "/etc/ld.so.conf.d/nvidia.conf"

MISMATCH = Code(
    "NCT-0121",
    ERROR,
    "the driver's libraries are of another version than the loaded kernel module",
    """
    The driver was updated, often by unattended upgrades, and the old kernel module is still loaded.
    nvidia-smi says "Failed to initialize NVML: Driver/library version mismatch", CUDA returns error
    803 or 804, nvidia-container-cli says "initialization error: nvml error: driver/library version
    mismatch".
    """,
    """
    Restart the machine.  Without a restart: end all that uses a GPU (lsof /dev/nvidia*, the
    display, nvidia-persistenced, dcgm), then rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia, and
    modprobe nvidia.  To avoid it: hold the driver's packages back from automatic updates.
    """,
)
NO_LIBRARIES = Code(
    "NCT-0122",
    ERROR,
    "the driver's libraries are not installed",
    """
    The kernel module is loaded, but no libcuda.so.VERSION and no libnvidia-ml.so.VERSION was found
    in the folders of libraries or in the loader's cache: a module alone was installed (dkms,
    nvidia-kernel-...), or the libraries lie below a folder that no setting names.
    nvidia-container-cli says "load library failed: libnvidia-ml.so.1: cannot open shared object
    file".
    """,
    """
    Install the libraries of the loaded version: libnvidia-compute-... and libcuda1 or
    nvidia-utils-... of the distribution, or NVIDIA's installer with --no-kernel-module.  If they
    are below another root, name it: nvidia-container-cli.root in config.toml.
    """,
)
ONLY_32 = Code(
    "NCT-0123",
    ERROR,
    "only the driver's 32-bit libraries are installed",
    """
    libcuda is there for 32-bit programs (steam and wine need it), not for 64-bit ones.
    """,
    """
    Install the 64-bit package of the same version.
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
OUTSIDE_CACHE = Code(
    "NCT-0127",
    ERROR,
    "the loader does not know the folder of the driver's libraries",
    """
    The libraries are there, but their folder is neither one of the usual ones nor in
    /etc/ld.so.cache, so neither the host's programs nor we find them.
    """,
    """
    Name the folder in a file of /etc/ld.so.conf.d and run ldconfig.
    """,
)
ROOT_EMPTY = Code(
    "NCT-0128",
    ERROR,
    "there is no driver at the driver root of config.toml",
    """
    nvidia-container-cli.root names the folder below which the driver lies (/run/nvidia/driver with
    the driver container of the GPU Operator), and no libraries are there: the driver container does
    not run, or the driver is installed on the machine itself.
    """,
    """
    Set nvidia-container-cli.root to where the driver is, to / for one of the machine itself; or
    start the driver container: kubectl get pods -n gpu-operator.
    """,
)
ROOT_ELSEWHERE = Code(
    "NCT-0129",
    ERROR,
    "the driver lies below a folder that config.toml does not name",
    """
    The libraries of the driver are not in this system's own folders but below a folder of their
    own, as a driver container has them (/run/nvidia/driver).
    """,
    """
    Name the folder in config.toml, nvidia-container-cli.root, or install the driver on the machine.
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
CODES = (
    *(MISMATCH, NO_LIBRARIES, ONLY_32, NO_CUDA, UPDATING, SIDE_BY_SIDE, OUTSIDE_CACHE),
    *(ROOT_EMPTY, ROOT_ELSEWHERE, UNREADABLE),
)


def check(subject: Subject, version: str) -> Iterator[Said]:
    """Look at the libraries for a loaded version; the lists of a SoC say which it has."""
    root = subject.driver_root or "/"
    installed = Driver(root)
    try:
        if not _has_driver(installed):
            yield _missing(subject, installed)
        elif not platform.is_soc(""):
            yield from _judge(installed, version)
    except NvidiaRuntimeError as error:
        yield Finding(code=UNREADABLE, what=error.what, where=error.where)


def _has_driver(installed: Driver) -> bool:
    return any(installed.libraries(f"{prefix}*") for prefix in facts.VERSIONED)


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
            yield Finding(code=NO_LIBRARIES, what=error.what, where=error.where)
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
    if has_cuda:
        yield Fine(f"libraries of {version} in {folder}")
        yield from _outside_cache(installed, folder)


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
    yield Finding(
        code=OUTSIDE_CACHE, what=what, where=platform.CACHE, command="ldconfig", severity=NOTE
    )


def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _missing(subject: Subject, installed: Driver) -> Finding:
    """Return what is wrong where there is no library; it may be elsewhere."""
    if installed.root != "/":
        own = _has_driver(Driver("/"))
        what = f"no libcuda.so.VERSION is below {installed.root}"
        what += "; the machine itself has one" if own else ""
        command = _set_root(subject, "/") if own else f"ls {installed.root}"
        return Finding(code=ROOT_EMPTY, what=what, where=_setting(subject), command=command)
    for root in ROOTS:
        if os.path.isdir(root) and _has_driver(Driver(root)):
            what = f"it is below {root}, the driver root is /"
            command = _set_root(subject, root)
            return Finding(code=ROOT_ELSEWHERE, what=what, where=_setting(subject), command=command)
    for folder in (*filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")), *STRAYS):
        if os.path.exists(f"{folder}/{CUDA}1") and os.path.isabs(folder):
            command = f"echo {shlex.quote(folder)} > {LOADER_FILE} && ldconfig"
            return Finding(
                code=OUTSIDE_CACHE, what=f"{CUDA}1 is there", where=folder, command=command
            )
    for folder in FOLDERS_32:
        if os.path.exists(f"{folder}/{CUDA}1"):
            return Finding(code=ONLY_32, what=f"there is {CUDA}1, for 32 bits", where=folder)
    what = f"no folder of libraries has {CUDA}1 or {NVML}1"
    return Finding(code=NO_LIBRARIES, what=what, where=driver_root.join(installed.root, "/usr/lib"))


def _setting(subject: Subject) -> str:
    return f"{subject.path}: {DRIVER_ROOT}"


def _set_root(subject: Subject, root: str) -> str:
    file = shlex.quote(subject.path)
    return f"nvidia-ctk config --config-file={file} --in-place --set {DRIVER_ROOT}={root}"
