# SPDX-License-Identifier: Apache-2.0
"""What tests must not leave on the host: a listing of it before and after them, and what differs.

Suites that run at the same time see one another's mounts and control groups.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
FOLDERS = ("/dev", "/etc", "/run", GROUPS, "/var/lib")
# Folders of which the names count, but nothing below.
SHALLOW = ("/", "/tmp")
# What others change meanwhile, each with its reason; a folder's own name, mode and owner count,
# but where it is said to come and go.
OTHERS = {
    r"/dev/pts/.+": "terminals are opened and closed",
    r"/dev/shm/libpod_lock": "podman's own, made at its first call: it judges files, as a user's would",
    r"/dev/loop\d+": "the kernel makes one where the last is in use",
    r"/etc/resolv\.conf": "a DHCP client renews its lease",
    r"/etc/(mtab|adjtime)": "they tell the state of the machine, not its settings",
    r"/run/(systemd|udev|user|log|dbus|sudo|lock|NetworkManager|dhcp\w*|chrony)/.+": "services",
    r"/run/(utmp|motd.*|.*\.lease)": "people log in, leases are renewed",
    r"/run/(docker|containerd|containers|crun|libpod|netns|podman|runc)/.+": "a user's own engine",
    r"/sys/fs/cgroup/.*\.(mount|scope|service|slice|socket|swap)(/.*)?": "systemd starts and ends units",
    r"/sys/fs/cgroup/.+/[0-9a-f]{32}(/.*)?": "who starts the tests has a group for each command",
    r"/tmp/(?!nvcr|nvidia).*": "everybody's; what is ours has a name of ours",
    r"/var/lib/(apt|dpkg|PackageKit|systemd|private|logrotate|dhcp|NetworkManager|chrony)/.+": "services",
    r"/var/lib/(docker|containerd|containers)/.+": "a user's own engine",
}
IS_OTHERS = re.compile("|".join(f"(?:{pattern})" for pattern in OTHERS))


def listing() -> dict[str, str]:
    """List what the host is, by paths: files, folders, nodes, control groups and mounts."""
    kinds = {path: kind for folder in FOLDERS for path, kind in entries(Path(folder))}
    for folder in SHALLOW:
        for name in os.listdir(folder):
            kinds[os.path.join(folder, name)] = "an entry"
    kinds |= mounts(Path("/proc/self/mountinfo").read_text())
    return {path: kind for path, kind in kinds.items() if not IS_OTHERS.fullmatch(path)}


def entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Describe a folder and all that is below it."""
    yield os.fspath(folder), describe(folder)
    for parent, folders, files in os.walk(folder):
        for name in folders if folder == GROUPS else folders + files:
            path = Path(parent, name)
            try:
                yield os.fspath(path), describe(path)
            except FileNotFoundError:
                continue


def describe(path: Path) -> str:
    """Describe one entry: type, mode and owner; of a file when it was written, of a node which."""
    status = path.lstat()
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{text} -> {os.readlink(path)}"
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return f"{text} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    if stat.S_ISREG(status.st_mode):
        return f"{text} {status.st_size} bytes of {status.st_mtime_ns}"
    return text


def mounts(table: str) -> dict[str, str]:
    """Read a mount table in the form of /proc/self/mountinfo; what is stacked counts, too."""
    rows: dict[str, str] = {}
    for line in table.splitlines():
        _, _, device, root, point, options, *rest = line.split()
        key = f"mount at {point}"
        while key in rows:
            key += ", again"
        rows[key] = f"{device} {root} {options} {' '.join(rest[rest.index('-') + 1 :])}"
    return rows


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Say what differs between two listings, by path; of a new or lost folder only its own."""
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    lines = [f"{path}: is gone" for path in gone if os.path.dirname(path) not in gone]
    lines += [f"{path}: is new, {after[path]}" for path in new if os.path.dirname(path) not in new]
    lines += [
        f"{path}: was {before[path]}, is {after[path]}"
        for path in before.keys() & after.keys()
        if before[path] != after[path]
    ]
    return sorted(lines)
