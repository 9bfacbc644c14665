# SPDX-License-Identifier: Apache-2.0
"""What SELinux, AppArmor and seccomp deny to containers with GPUs, and to our programs.

A denial counts for a week, and only while what it asks for is still to be done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding, Fine, Skipped, Step
from nvidia_runtime.doctor.system import selinux as selinux_rules
from nvidia_runtime.host import denials, kernel_log, selinux

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.host.denials import Denial

WEEK, DAY = 7 * 24 * 3600, 24 * 3600
APPARMOR = Code(
    "NCT-0625",
    ERROR,
    "AppArmor keeps a program from the GPUs",
    """
    A profile of AppArmor denies a device node of the driver, one of its files, or one of our
    programs.  The profiles that engines bring (docker-default, cri-containerd.apparmor.d,
    containers-default) allow device nodes, so it is a profile of this machine's own, that of an
    outer container (LXC, LXD), or that of the snap of docker (snap.docker.dockerd), which runs no
    program outside of snaps: 'permission denied' when docker starts our runtime.
    """,
    """
    docker of the snap: put the runtime's files below /var/snap/docker/common, or use the
    distribution's docker.  A container of LXD needs 'security.nesting=true', one of LXC
    'lxc.apparmor.allow_nesting = 1'.  A profile of your own needs '/dev/nvidia* rw,' and
    'apparmor_parser -r' of its file.
    """,
)
SECCOMP = Code(
    "NCT-0626",
    WARNING,
    "seccomp killed a program that a hook of NVIDIA's runs",
    """
    libnvidia-container runs ldconfig under a filter of system calls, and a newer glibc makes some
    that the filter does not know ('ldcache error: process /sbin/ldconfig.real terminated with
    signal 31', or signal 9).  Our runtime runs no ldconfig: this container was made by the legacy
    hook.
    """,
    """
    Give containers their GPUs by our runtime: the mode auto (nvidia-ctk config --set
    nvidia-container-runtime.mode=auto --in-place) and 'docker run --runtime=nvidia'.  Else install
    a libnvidia-container of 1.18 or newer.
    """,
)
CODES = (*selinux_rules.CODES, APPARMOR, SECCOMP)

# Programs whose death by seccomp is ours to tell.
OF_HOOKS = ("nvidia", "ldconfig")
SNAP = "snap.docker"
# What AppArmor calls the making of a user namespace, which `kernel` tells of.
USER_NAMESPACE = "userns_create"


def check(subject: Subject) -> Iterator[Said]:
    """Look into the logs of the audit system."""
    yield Step("the audit log")
    all_denials, skipped = recent()
    if skipped:
        yield skipped
    is_enforcing = selinux.is_enforcing()
    if is_enforcing is not None:
        yield Fine(f"SELinux {'enforcing' if is_enforcing else 'permissive'}", is_main=True)
    if is_enforcing:
        of_selinux = [one for one in all_denials if one.by == denials.SELINUX]
        yield from selinux_rules.check(subject, of_selinux)
    yield from _apparmor(one for one in all_denials if one.by == denials.APPARMOR)
    yield from _seccomp(one for one in all_denials if one.by == denials.SECCOMP)


def recent() -> tuple[list[Denial], Skipped | None]:
    """Return the denials of the last week since the machine was started, the youngest last."""
    file, kernel = denials.read_file(), kernel_log.read()
    lines = [*(line.text for line in kernel or ()), *(file or ())]
    since = time.time() - min(WEEK, time.clock_gettime(time.CLOCK_BOOTTIME))
    listed = [one for one in denials.parse(lines) if one.time >= since - 1]
    skipped = None
    if file is None and kernel is None:
        skipped = Skipped("denials of SELinux and AppArmor", f"{denials.PATH} needs root")
    return sorted(listed, key=lambda one: one.time), skipped


def _apparmor(listed: Iterable[Denial]) -> Iterator[Said]:
    by_profile: dict[str, list[Denial]] = {}
    for one in listed:
        words = (one.path, one.program, one.fields.get("profile", ""))
        if one.operation != USER_NAMESPACE and any("nvidia" in word for word in words):
            by_profile.setdefault(one.fields.get("profile", "?"), []).append(one)
    for profile, ones in by_profile.items():
        last = ones[-1]
        what = f"the profile {profile} denies {last.program} {last.operation} of {last.path}"
        yield Finding(
            code=APPARMOR,
            what=f"{what}, {selinux_rules.times(ones)}",
            where=_file_of(profile),
            command="journalctl -k -g 'apparmor=.DENIED.*nvidia'",
            engine="docker" if profile.startswith(SNAP) else "",
        )


def _file_of(profile: str) -> str:
    """Return where a profile is written, as far as that is usual."""
    if profile.startswith("snap."):
        return f"/var/lib/snapd/apparmor/profiles/{profile}"
    path = "/etc/apparmor.d/" + profile.strip("/").replace("/", ".")
    return path if os.path.exists(path) else f"AppArmor profile {profile}"


def _seccomp(listed: Iterable[Denial]) -> Iterator[Said]:
    since = time.time() - DAY
    ones = [
        one
        for one in listed
        if one.time >= since
        and os.path.basename(one.fields.get("exe", "") or one.program).startswith(OF_HOOKS)
    ]
    if ones:
        last = ones[-1]
        program = last.fields.get("exe", "") or last.program
        what = f"{program} was killed for its system call {last.operation}"
        yield Finding(
            code=SECCOMP,
            what=f"{what} (architecture {last.fields.get('arch', '?')}), "
            + selinux_rules.times(ones),
            where=selinux_rules.where(),
            command="nvidia-ctk config --set nvidia-container-runtime.mode=auto --in-place",
        )
