# SPDX-License-Identifier: Apache-2.0
"""File systems: whether there is room, and whether nodes and programs work where they lie."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding, Fine, Step
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import ldcache, platform
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.rootfs import mounts
from nvidia_runtime.rootfs.ldcache import MalformedError
from nvidia_runtime.rootfs.ldcache import parse as parse_cache
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

FULL = Code(
    "NCT-0608",
    ERROR,
    "a file system is full",
    """
    Engines write a container's bundle and layers there, and we its config.json and what we
    remember.  'no space left on device' comes also where all inodes are used up, which 'df -i'
    shows.
    """,
    """
    'df -h' and 'du -x' show what takes the room.  'docker system prune' or 'podman system prune'
    remove what no container uses; a tmpfs such as /run can be enlarged by 'mount -o
    remount,size=...'.
    """,
)
READ_ONLY = Code(
    "NCT-0609",
    ERROR,
    "a file system that containers need is read-only",
    """
    Nothing can be written where engines and we keep what belongs to running containers.  The kernel
    makes a file system read-only when it meets errors on its disk.
    """,
    """
    dmesg says whether the disk failed.  If not, 'mount -o remount,rw' of that place.
    """,
)
NO_DEVICES = Code(
    "NCT-0610",
    ERROR,
    "device nodes of the driver lie where none can be used",
    """
    Their file system is mounted with the option nodev, so nobody can open a node there: NVML says
    'Insufficient Permissions' or 'Driver Not Loaded', and rootless containers, into which nodes are
    mounted as they are, get 'Operation not permitted' or 'Permission denied'.
    """,
    """
    Mount it anew without nodev.  Below /run/nvidia/driver, the root of a driver in a container, it
    is the container's mount that counts.
    """,
)
NO_EXECUTION = Code(
    "NCT-0611",
    ERROR,
    "programs or libraries lie where none may be executed",
    """
    Their file system is mounted with the option noexec.  A program there is 'Permission denied', a
    library 'failed to map segment from shared object'; a mount of it into a container keeps the
    option.
    """,
    """
    Mount it anew without noexec, or install them elsewhere.
    """,
)
CACHE = Code(
    "NCT-0612",
    ERROR,
    "the loader's cache of this machine cannot be used",
    """
    /etc/ld.so.cache says where libraries are that lie outside of the usual folders, those of the
    driver, too.  Where it cannot be read, CDI specs and containers cannot be made; where it is
    damaged, such libraries are left out.
    """,
    """
    'ldconfig', as root, writes it anew.
    """,
)
CODES = (FULL, READ_ONLY, NO_DEVICES, NO_EXECUTION, CACHE)

RUN = os.path.dirname(files.SYSTEM_FOLDER)
# Where engines and we write; those that are there count.
WRITTEN = (
    *(RUN, "/var/lib", "/var/lib/docker", "/var/lib/containerd"),
    *("/var/lib/containers/storage", "/var/lib/rancher", "/var/lib/nvidia-container-runtime"),
)
# A container with eight GPUs takes some 100 kB in /run.
LEAST = 1 << 20
RUNTIME = "nvidia-container-runtime"
NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


def check(subject: Subject) -> Iterator[Said]:
    """Look at the file systems below what containers need."""
    yield Step("file systems")
    yield from _room(subject)
    yield from _devices(subject)
    yield from _execution(subject)
    yield from _cache(subject)


def _room(subject: Subject) -> Iterator[Said]:
    seen: set[int] = set()
    fine = True
    for path in WRITTEN:
        try:
            device, status = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        point = mount_point(path)
        if status.f_flag & os.ST_RDONLY:
            if path != "/var/lib":  # of a system that is read-only as a whole
                fine = False
                what = f"{path} is mounted read-only"
                command = f"mount -o remount,rw {point}"
                yield Finding(code=READ_ONLY, what=what, where=point, command=command)
            continue
        room = (status.f_bfree if subject.is_root else status.f_bavail) * status.f_frsize
        inodes = status.f_ffree if subject.is_root else status.f_favail
        lacks = f"{room >> 10} KiB are left" if room < LEAST else ""
        lacks = lacks or ("no inode is left" if status.f_files and not inodes else "")
        if lacks:
            fine = False
            command = f"df {'-i' if 'inode' in lacks else '-h'} {point}"
            yield Finding(code=FULL, what=f"{lacks} for {path}", where=point, command=command)
    if fine:
        yield Fine("there is room in /run and where engines keep containers")


def _devices(subject: Subject) -> Iterator[Said]:
    for root in dict.fromkeys(("", subject.driver_root)):
        nodes = [root + path for path in NODES if os.path.exists(root + path)]
        if nodes and _has(nodes[0], os.ST_NODEV):
            point = mount_point(nodes[0])
            what = f"{nodes[0]} is in {point}, which is mounted with nodev"
            command = f"mount -o remount,bind,dev {point}"
            yield Finding(code=NO_DEVICES, what=what, where=point, command=command)


def _execution(subject: Subject) -> Iterator[Said]:
    try:
        libraries = Driver(subject.driver_root).libraries("libcuda.so.*")[:1]
    except NvidiaRuntimeError:  # `driver` tells of it
        libraries = []
    points: dict[str, str] = {}
    for path in (subject.program, *_in_path(RUNTIME), sys.executable, *libraries):
        if _has(path, os.ST_NOEXEC):
            points.setdefault(mount_point(os.path.realpath(path)), path)
    for point, path in points.items():
        what = f"{path} is in {point}, which is mounted with noexec"
        command = f"mount -o remount,bind,exec {point}"
        yield Finding(code=NO_EXECUTION, what=what, where=point, command=command)


def _in_path(name: str) -> list[str]:
    """Return the file of a name that comes first in PATH, executable (noexec is not) or not."""
    folders = os.environ.get("PATH", "").split(":")
    paths = [f"{folder}/{name}" for folder in folders if folder[:1] == "/"]
    return list(filter(os.path.isfile, paths))[:1]


def _cache(subject: Subject) -> Iterator[Said]:
    path = subject.driver_root + platform.CACHE
    try:
        ldcache.paths(subject.driver_root)
        data = _data(path)
        if data:
            parse_cache(data)
    except NvidiaRuntimeError as error:
        yield Finding(code=CACHE, what=error.what, where=path, command=_renewed(subject))
    except MalformedError as error:
        what = f"it is damaged: {error}"
        yield Finding(
            code=CACHE, what=what, where=path, command=_renewed(subject), severity=WARNING
        )
    else:
        yield Fine("the loader's cache can be read" if data else "there is no loader's cache")


def _data(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _renewed(subject: Subject) -> str:
    return f"chroot {subject.driver_root} ldconfig" if subject.driver_root else "ldconfig"


def _has(path: str, flag: int) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & flag)
    except OSError:
        return False


def mount_point(path: str) -> str:
    """Return the folder or file at which the file system of a path is mounted."""
    path = os.path.realpath(path)
    try:
        points = mounts.points("/proc/self/mountinfo")
    except OSError:
        return "/"
    above = [point for point in points if f"{path}/".startswith(f"{point.rstrip('/')}/")]
    return max(above, key=len, default="/")
