# SPDX-License-Identifier: Apache-2.0
"""Which mount a place is on, as the kernel says."""

import posix

from nvidia_runtime.rootfs import resolver

# Files that the kernel makes up: all containers share them, and to open one may be to act.
KERNEL = (
    *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf"),
    *("configfs", "efivarfs", "fusectl", "pstore", "selinuxfs", "binfmt_misc", "nsfs"),
)


def identity(place: resolver.Place) -> str:
    """Return the number of the mount, as mountinfo has it; "" if the kernel does not say."""
    for line in _lines(f"/proc/self/fdinfo/{place.descriptor}"):
        if line.startswith("mnt_id:"):
            return line[len("mnt_id:") :].strip()
    return ""


def file_system(place: resolver.Place) -> str:
    """Return the type of the file system, "" if the kernel does not say."""
    number = identity(place)
    for line in _lines("/proc/self/mountinfo"):
        if line.partition(" ")[0] == number:
            return line.partition(" - ")[2].partition(" ")[0]
    return ""


def _lines(path: str) -> list[str]:
    descriptor = posix.open(path, posix.O_RDONLY)
    try:
        data = b""
        while part := posix.read(descriptor, 1 << 16):
            data += part
    finally:
        posix.close(descriptor)
    return data.decode("utf-8", "surrogateescape").split("\n")
