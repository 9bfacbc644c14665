# SPDX-License-Identifier: Apache-2.0
"""The kernel, what /proc shows of it, user namespaces, and limits."""

from __future__ import annotations

import glob
import os
import re
import resource
import shutil
import time
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code, Finding, Fine, Step
from nvidia_runtime.doctor.system import denials
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

OLD = Code(
    "NCT-0601",
    WARNING,
    "the kernel is old",
    """
    Before Linux 4.15 there are no device rules in cgroup v2, so that containers need cgroup v1;
    before 3.17 a 'timeout' of nvidia-container-runtime-hook in config.toml cannot be kept.  NVIDIA
    builds drivers of today for 4.15 and newer.
    """,
    """
    Install a newer kernel of your distribution.
    """,
)
NO_USER_NAMESPACES = Code(
    "NCT-0605",
    WARNING,
    "rootless containers get no user namespace",
    """
    The kernel is set so that users may make none, or on Ubuntu since 23.10 only programs with an
    AppArmor profile may.  podman then says 'cannot clone: Operation not permitted' or 'user
    namespaces are not enabled in /proc/sys/user/max_user_namespaces', rootless docker 'failed to
    start the child: fork/exec /proc/self/exe: operation not permitted'.
    """,
    """
    Set what 'where' names, and write it into a file of /etc/sysctl.d to keep it.  On Ubuntu rather
    take podman, docker and rootlesskit from packages, which bring their profiles.
    """,
)
PARTIAL = Code(
    "NCT-0606",
    ERROR,
    "/proc shows processes only",
    """
    It is mounted with subset=pid, as for a service with ProcSubset=pid, or it is not mounted.
    /proc/driver/nvidia, /proc/devices and /proc/modules are missing, so nothing that is made there
    can find the driver; other findings may be false.
    """,
    """
    Run it where /proc is whole, and take ProcSubset= out of the unit in which our programs run.
    """,
)
HIDDEN = Code(
    "NCT-0607",
    NOTE,
    "/proc hides processes of others",
    """
    It is mounted with hidepid.  Only root sees which engine runs, and with which file.
    """,
    """
    Run nvidia-ctk doctor as root.
    """,
)
FEW_FILES = Code(
    "NCT-0613",
    WARNING,
    "few files may be open at once",
    """
    Engines and containers that are started from here inherit the limit, and CUDA opens many files
    for each GPU: 'too many open files'.
    """,
    """
    'ulimit -n 1024' raises it in a shell; LimitNOFILE= in a unit, /etc/security/limits.conf for a
    login.
    """,
)
CODES = (OLD, NO_USER_NAMESPACES, PARTIAL, HIDDEN, FEW_FILES)

OLDEST = (4, 15)
FEWEST = 256
# Sockets of engines that a user runs, and programs that make a rootless container.
USERS_SOCKETS = ("/run/user/*/docker.sock", "/run/user/*/podman/podman.sock")
ROOTLESS = ("podman", "rootlesskit")
MAKERS = (*ROOTLESS, "newuidmap", "crun", "runc", "unshare", "buildah", "dockerd")
SYSCTL = "/proc/sys"
# A file below it, what it must not be, and what to set in place of that.
SETTINGS = (
    ("user/max_user_namespaces", "0", "28633"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
)
RESTRICTED = "kernel/apparmor_restrict_unprivileged_userns"


def check(subject: Subject) -> Iterator[Said]:
    """Look at what the kernel is and offers."""
    yield Step("the kernel")
    yield from _version()
    yield from _proc(subject)
    yield from _user_namespaces(subject)
    yield from _limits()


def _version() -> Iterator[Said]:
    release = os.uname().release
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        what, where = f"it is {release}, older than {needed}", "/proc/sys/kernel/osrelease"
        yield Finding(code=OLD, what=what, where=where, command="uname -r")
    else:
        yield Fine(f"Linux {release}", is_main=True)


def _proc(subject: Subject) -> Iterator[Said]:
    options = _options()
    if options is None or "subset=pid" in options:
        what = "/proc is not mounted" if options is None else "/proc is mounted with subset=pid"
        command = "nsenter --target 1 --mount nvidia-ctk doctor"
        yield Finding(code=PARTIAL, what=what, where="/proc", command=command)
        return
    hides = [one for one in options if one.startswith("hidepid=") and one[8:] not in ("0", "off")]
    if hides and not subject.is_root:
        what = f"/proc is mounted with {hides[0]}"
        yield Finding(code=HIDDEN, what=what, where="/proc", command="sudo nvidia-ctk doctor")
    else:
        yield Fine("/proc is whole")


def _options() -> list[str] | None:
    """Return the options of the file system at /proc, None without one."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    rows = [words for words in lines if words[4] == "/proc"]
    # The last mount covers the others.
    return [*rows[-1][5].split(","), *rows[-1][-1].split(",")] if rows else None


def _user_namespaces(subject: Subject) -> Iterator[Said]:
    engines = [name for name in ROOTLESS if shutil.which(name)]
    sockets = [path for pattern in USERS_SOCKETS for path in glob.glob(pattern)]
    if not engines and not sockets:
        return
    is_used = bool(sockets) or not subject.is_root
    fine = True
    for name, wrong, right in SETTINGS:
        if (files.read_text(f"{SYSCTL}/{name}") or "").strip() == wrong:
            fine = False
            yield Finding(
                code=NO_USER_NAMESPACES,
                what=f"{name.replace('/', '.')} is {wrong}",
                where=f"{SYSCTL}/{name}",
                command=f"sysctl -w {name.replace('/', '.')}={right}",
                severity=WARNING if is_used else NOTE,
            )
    for said in _denied():
        fine = False
        yield said
    if fine:
        yield Fine("users may make user namespaces")


def _denied() -> Iterator[Said]:
    """Tell of a user namespace that AppArmor has denied to an engine today, and still would."""
    if (files.read_text(f"{SYSCTL}/{RESTRICTED}") or "").strip() != "1":
        return
    since = time.time() - denials.DAY
    ones = [
        one
        for one in denials.recent()[0]
        if one.operation == denials.USER_NAMESPACE and one.program in MAKERS and one.time > since
    ]
    if ones:
        program = ones[-1].program
        profile = f"/etc/apparmor.d/{program}"
        name = RESTRICTED.replace("/", ".")
        is_there = os.path.exists(profile)
        yield Finding(
            code=NO_USER_NAMESPACES,
            what=f"AppArmor denied one to {program}: {name} is 1, and no profile lets it",
            where=f"{SYSCTL}/{RESTRICTED}",
            command=f"apparmor_parser -r {profile}" if is_there else f"sysctl -w {name}=0",
        )


def _limits() -> Iterator[Said]:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= soft < FEWEST:
        what = f"{soft} files may be open at once here"
        where = "/proc/self/limits"
        yield Finding(code=FEW_FILES, what=what, where=where, command="ulimit -n 1024")
