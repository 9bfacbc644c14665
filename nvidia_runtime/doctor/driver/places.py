# SPDX-License-Identifier: Apache-2.0
"""Where the driver's libraries are if not where we look: below a root, or in an odd folder."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, Code, Finding
from nvidia_runtime.host import compat32, facts
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.store.snapshot import DRIVER_ROOT

if TYPE_CHECKING:
    from nvidia_runtime.doctor.subject import Subject

CUDA, NVML = facts.VERSIONED
# Where a driver lies as a whole: the GPU Operator's and Google's container, and what a host may be
# in a container.
ROOTS = ("/run/nvidia/driver", "/home/kubernetes/bin/nvidia", "/host", "/driver-root")
ELF_32 = b"\x7fELF\x01"
# Where libraries were seen that no loader knows; LD_LIBRARY_PATH is looked at, too.
STRAYS = tuple(
    f"{folder}/{name}"
    for folder in ("/usr/local/nvidia", "/opt/nvidia", "/usr/lib/nvidia", "/usr/lib64/nvidia")
    for name in ("lib64", "lib", "")
)
LOADER_FILE = "/etc/ld.so.conf.d/nvidia.conf"

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
CODES = (NO_LIBRARIES, ONLY_32, OUTSIDE_CACHE, ROOT_EMPTY, ROOT_ELSEWHERE)


def has_driver(installed: Driver) -> bool:
    """Whether a library of the driver is where we look, of whatever version."""
    return any(installed.libraries(f"{prefix}*") for prefix in facts.VERSIONED)


def find(subject: Subject, installed: Driver) -> Finding:
    """Return what is wrong where there is no library: it may be elsewhere."""
    if installed.root != "/":
        own = has_driver(Driver("/"))
        what = f"no libcuda.so.VERSION is below {installed.root}"
        what += "; the machine itself has one" if own else ""
        command = _set_root(subject, "/") if own else f"ls {installed.root}"
        return Finding(code=ROOT_EMPTY, what=what, where=_setting(subject), command=command)
    for root in ROOTS:
        if os.path.isdir(root) and has_driver(Driver(root)):
            what = f"it is below {root}, the driver root is /"
            command = _set_root(subject, root)
            return Finding(code=ROOT_ELSEWHERE, what=what, where=_setting(subject), command=command)
    for folder in (*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *STRAYS, "/usr/lib"):
        library = f"{folder}/{CUDA}1"
        if os.path.isabs(folder) and os.path.isfile(library) and not _is_32(library):
            command = f"echo {shlex.quote(folder)} > {LOADER_FILE} && ldconfig"
            return Finding(
                code=OUTSIDE_CACHE, what=f"{CUDA}1 is there", where=folder, command=command
            )
    for folder in compat32.FOLDERS:
        if _is_32(f"{folder}/{CUDA}1"):
            return Finding(code=ONLY_32, what=f"there is {CUDA}1, for 32 bits", where=folder)
    what = f"no folder of libraries has {CUDA}1 or {NVML}1"
    return Finding(code=NO_LIBRARIES, what=what, where=driver_root.join(installed.root, "/usr/lib"))


def _is_32(path: str) -> bool:
    """Whether a file is a library for 32 bits."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(ELF_32)) == ELF_32
    except OSError:
        return False


def _setting(subject: Subject) -> str:
    return f"{subject.path}: {DRIVER_ROOT}"


def _set_root(subject: Subject, root: str) -> str:
    file = shlex.quote(subject.path)
    return f"nvidia-ctk config --config-file={file} --in-place --set {DRIVER_ROOT}={root}"
