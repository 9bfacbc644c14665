# SPDX-License-Identifier: Apache-2.0
"""What kind of machine this is by its files, and which mode ``auto`` means on it.

`mode` runs at every create in auto mode: a handful of system calls.
"""

import posix

CSV = "csv"
JIT = "jit-cdi"
RELEASE = "/etc/nv_tegra_release"
FAMILY = "/sys/devices/soc0/family"
# Says that a SoC is NVIDIA's, also without a family or a release file.
COMPATIBLE = "/proc/device-tree/compatible"
SOC = b"nvidia,tegra"
NVML = "libnvidia-ml.so.1"
NVML_FOLDERS = (
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/nvidia",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib",
)
CACHE = "/etc/ld.so.cache"
DXCORE = "libdxcore.so"
# Where WSL puts what Windows lends to Linux.
WSL_FOLDER = "/usr/lib/wsl/lib"
NODE = "/dev/dxg"
# Parts of NVML's names of GPUs that belong to a SoC.
INTEGRATED = ("(nvgpu)", "NVIDIA Thor")
MOST_TEXT = 4096
MOST_CACHE = 1 << 24


def mode(root: str = "") -> str:
    """Return what ``auto`` means here: csv, jit-cdi, or "" if the names of its GPUs decide.

    They do only on a SoC with NVML, which may know its own GPU, or a card beside it.
    """
    root = root.rstrip("/")
    if not is_soc(root) or is_wsl(root):
        return JIT
    if has_nvml(root):
        return ""
    return CSV if is_tegra(root) else JIT


def is_integrated(name: str) -> bool:
    """Whether a GPU is part of a SoC, by its name in NVML."""
    return any(part in name for part in INTEGRATED)


def is_soc(root: str, kernel_root: str | None = None) -> bool:
    """Whether this is a SoC of NVIDIA, or a system made for one."""
    if is_tegra(root, kernel_root):
        return True
    return SOC in _read((root if kernel_root is None else kernel_root).rstrip("/") + COMPATIBLE)


def is_tegra(root: str, kernel_root: str | None = None) -> bool:
    """Whether this is a Tegra system, by the toolkit's rule: its release file, or its family.

    Without ``kernel_root``, the kernel's files are below ``root`` too.
    """
    if _is_file(root.rstrip("/") + RELEASE):
        return True
    family = _read((root if kernel_root is None else kernel_root).rstrip("/") + FAMILY)
    return family.lower().startswith(b"tegra")


def is_wsl(root: str) -> bool:
    """Whether this system uses the GPUs of Windows."""
    return _is_file(f"{root.rstrip('/')}{WSL_FOLDER}/{DXCORE}")


def has_nvml(root: str) -> bool:
    """Whether a program that loads NVML would find it."""
    root = root.rstrip("/")
    if any(_is_file(f"{root}{folder}/{NVML}") for folder in NVML_FOLDERS):
        return True
    return f"/{NVML}\0".encode() in _read(root + CACHE, MOST_CACHE)


def _is_file(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o100000
    except (OSError, ValueError):
        return False


def _read(path: str, most: int = MOST_TEXT) -> bytes:
    """Read a file, of /proc or /sys too; an unreadable one is empty."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        parts = []
        while most > 0 and (part := posix.read(descriptor, min(most, 1 << 16))):
            parts.append(part)
            most -= len(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        posix.close(descriptor)
