# SPDX-License-Identifier: Apache-2.0
"""Which mount a place is on, as the kernel says."""

import posix

from nvidia_runtime.rootfs import resolver

# Files that the kernel makes up: all containers share them, and to open one may be to act.
KERNEL = (
    *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf"),
    *("configfs", "efivarfs", "fusectl", "pstore", "selinuxfs", "binfmt_misc", "nsfs"),
)

OWN = "/proc/self/mountinfo"
# Another namespace's table, open: ours has no line of a mount that our root does not lead to.
_others: list[int] = []


def use_table(descriptor: int) -> None:
    """Look at another namespace's mounts from now on: its mountinfo, opened by who was in it.

    It says whenever it is read what is mounted then; the descriptor stays open.
    """
    _others.append(descriptor)


def identity(place: resolver.Place) -> str:
    """Return the number of the mount, as mountinfo has it; "" if the kernel does not say."""
    for line in _lines(f"/proc/self/fdinfo/{place.descriptor}"):
        if line.startswith("mnt_id:"):
            return line[len("mnt_id:") :].strip()
    return ""


def file_system(place: resolver.Place) -> str:
    """Return the type of the file system, "" if the kernel does not say."""
    number = identity(place)
    for line in _table():
        if line.partition(" ")[0] == number:
            return line.partition(" - ")[2].partition(" ")[0]
    return ""


def below(root: resolver.Place) -> list[str]:
    """List the paths in a container's root at which something is mounted."""
    top = posix.readlink(root.by_descriptor()).rstrip("/") + "/"
    paths = []
    for line in _table():
        words = line.split(" ", 5)
        path = _plain(words[4]) if len(words) > 4 else ""
        if path.startswith(top):
            paths.append(path[len(top) - 1 :])
    return paths


def points(table: str) -> frozenset[str]:
    """Return where something is mounted, by a file in the form of /proc/PID/mountinfo."""
    rows = [line.split(" ", 5) for line in _lines(table)]
    return frozenset(_plain(row[4]) for row in rows if len(row) > 4)


def _plain(text: str) -> str:
    """Take the kernel's escapes out of a path: blanks, line ends and backslashes as octal."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)


def _table() -> list[str]:
    """Return the lines of the table; the numbers in it are those of the whole machine."""
    lines = _lines(OWN) if not _others else []
    for descriptor in _others:
        posix.lseek(descriptor, 0, 0)
        lines += _read(descriptor)
    return lines


def _lines(path: str) -> list[str]:
    descriptor = posix.open(path, posix.O_RDONLY)
    try:
        return _read(descriptor)
    finally:
        posix.close(descriptor)


def _read(descriptor: int) -> list[str]:
    data = b""
    while part := posix.read(descriptor, 1 << 16):
        data += part
    return data.decode("utf-8", "surrogateescape").split("\n")
