# SPDX-License-Identifier: Apache-2.0
"""The driver's kernel module as a file: for which kernels it is there, and what keeps it out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from nvidia_runtime.host import root as driver_root

MODULES = "/lib/modules"
# Where distributions, DKMS and NVIDIA's installer put it, below the folder of a kernel.
FOLDERS = ("updates", "extra", "extramodules", "weak-updates", "kernel/drivers/video", "kernel")
# Debian has one for each branch, and prefers one by an alias.
NAME = re.compile(r"nvidia(-current|-tesla(-\d+)?|-legacy-\w+|-open)?\.ko(\.gz|\.xz|\.zst)?")
# RHEL has extra/drivers/video/nvidia.
DEPTH = 4
MOST_FILES = 20_000
# modprobe.d(5), the most important first.
SETTINGS = (
    *("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d"),
    *("/usr/lib/modprobe.d", "/lib/modprobe.d"),
)
MOST_TEXT = 1 << 16
COMMAND_LINE = "/proc/cmdline"
PARAMETERS = ("modprobe.blacklist", "module_blacklist", "rd.driver.blacklist")
NOTHING = ("/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true", ":")
# EFI's variable, four bytes of attributes before its value.
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SIGNED = b"~Module signature appended~\n"


@dataclass(frozen=True, slots=True)
class Block:
    """A line that keeps the module from being loaded, and its place.

    ``is_final`` is whether ``modprobe nvidia`` cannot load it either.
    """

    line: str
    where: str
    is_final: bool


def path(release: str) -> str:
    """Return the driver's module for a kernel, "" if there is none."""
    folder = f"{MODULES}/{release}"
    left = MOST_FILES
    for place in FOLDERS:
        for at, folders, names in os.walk(f"{folder}/{place}"):
            depth = at[len(folder) :].count("/")
            if place == "kernel":
                # Ubuntu's own builds are in kernel/nvidia-535; the rest of it is the kernel's.
                folders[:] = [name for name in folders if name.startswith("nvidia")]
            if depth > DEPTH + place.count("/"):
                folders.clear()
            left -= len(names)
            if left < 0:
                return ""
            for name in names:
                if NAME.fullmatch(name):
                    return f"{at}/{name}"
    return ""


def kernels() -> list[str]:
    """Return the kernels that the module was built for."""
    return [release for release in driver_root.names(MODULES) if path(release)]


def blocks() -> list[Block]:
    """Return what settings of modprobe or the kernel keep the module out."""
    listed = []
    for folder in SETTINGS:
        for name in driver_root.names(folder):
            file = f"{folder}/{name}"
            if not name.endswith(".conf") or os.path.realpath(file) == "/dev/null":
                continue
            for number, line in enumerate(_text(file).splitlines(), 1):
                listed += _block(line.split(), f"{file}:{number}")
    for word in _text(COMMAND_LINE).split():
        name, _, value = word.partition("=")
        if name in PARAMETERS and "nvidia" in value.split(","):
            listed.append(Block(word, COMMAND_LINE, is_final=name == "module_blacklist"))
    return sorted(listed, key=lambda block: not block.is_final)


def _block(words: list[str], where: str) -> list[Block]:
    """Return the line of these words if it keeps the module out."""
    is_final = words[:2] == ["install", "nvidia"] and words[2:3] != [] and words[2] in NOTHING
    if is_final or words[:2] == ["blacklist", "nvidia"]:
        return [Block(" ".join(words), where, is_final=is_final)]
    return []


def has_secure_boot() -> bool:
    """Whether the firmware has the kernel refuse modules that nobody trusted has signed."""
    try:
        with open(SECURE_BOOT, "rb") as file:
            return file.read(8)[4:5] == b"\1"
    except OSError:
        return False


def is_unsigned(file: str) -> bool:
    """Whether a module surely has no signature; that of a compressed one is not looked for."""
    if not file.endswith(".ko"):
        return False
    try:
        with open(file, "rb") as module:
            module.seek(-min(len(SIGNED), os.path.getsize(file)), os.SEEK_END)
            return module.read() != SIGNED
    except OSError:
        return False


def _text(file: str) -> str:
    """Return a text of settings; what is no file is not opened."""
    if not os.path.isfile(file):
        return ""
    try:
        with open(file, encoding="utf-8", errors="replace") as settings:
            return settings.read(MOST_TEXT)
    except OSError:
        return ""
