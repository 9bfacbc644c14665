# SPDX-License-Identifier: Apache-2.0
"""What SELinux denies, and the boolean or rule for it: packaging/confinement.md has the sources."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding
from nvidia_runtime.engines.engine import expanded
from nvidia_runtime.engines.view import View
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import denials, kernel_log, selinux
from nvidia_runtime.host.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.host.denials import Denial

DEVICES = Code(
    "NCT-0621",
    ERROR,
    "SELinux keeps containers from the GPUs",
    """
    Containers run as container_t, which may not use nodes of the type that policies give to
    /dev/nvidia* (xserver_misc_device_t) or /dev/dri (dri_device_t), unless a boolean of the policy
    allows it.  In the container that is 'Failed to initialize NVML: Insufficient Permissions', and
    in the audit log 'avc: denied { read write } ... tclass=chr_file'.
    """,
    """
    'setsebool -P container_use_xserver_devices on' allows just these nodes.  Where the policy has
    no such boolean (container-selinux before May 2024), 'setsebool -P container_use_devices on'
    allows all devices that a container was given.  A type of your own (udica) needs a rule:
    'allow YOURS_t xserver_misc_device_t:chr_file { getattr ioctl lock map open read write };'.
    There is no need to switch SELinux off for a container.
    """,
)
NODES = Code(
    "NCT-0622",
    ERROR,
    "nodes of the GPUs have no SELinux type of their own",
    """
    A program that gives files no type made a node in /dev, so it has the type of the folder,
    device_t, which no container may use.
    """,
    """
    'restorecon -v /dev/nvidia* /dev/nvidia-caps/*' gives them the policy's type, until the next
    boot.  What makes them too early is often nvidia-modprobe in the initial RAM disk; a newer
    selinux-policy gives types by names.
    """,
)
FILES = Code(
    "NCT-0623",
    ERROR,
    "SELinux keeps containers from the driver's files",
    """
    The driver's libraries, which are mounted into containers, have a type that containers may not
    read: they were unpacked by hand, or lie where the policy expects no libraries.
    """,
    """
    'restorecon -Rv' of their folder.  Where that folder is no usual one, first say what it holds:
    semanage fcontext -a -t lib_t '/FOLDER(/.*)?'.
    """,
)
PROGRAMS = Code(
    "NCT-0624",
    ERROR,
    "SELinux keeps our programs from running",
    """
    They lie where their type is one that services may not execute, such as below a home:
    'status=203/EXEC' of nvidia-cdi-refresh.service, or 'permission denied' when an engine starts
    the runtime.
    """,
    """
    Install into /opt or /usr/local.  Or give them a type where they are:
    semanage fcontext -a -t bin_t '/FOLDER/bin(/.*)?', and 'restorecon -R /FOLDER'.
    """,
)
CODES = (DEVICES, NODES, FILES, PROGRAMS)

NARROW, WIDE, DRI = (
    "container_use_xserver_devices",
    "container_use_devices",
    "container_use_dri_devices",
)
OF_NVIDIA, OF_DRI, UNTYPED = "xserver_misc_device_t", "dri_device_t", "device_t"
# The types that the booleans are for.
CONTAINERS = ("container_t", "container_init_t", "container_kvm_t", "svirt_lxc_net_t")
CONTROL = "/dev/nvidiactl"
RESTORE_NODES = "restorecon -v /dev/nvidia* /dev/nvidia-caps/*"
LIBRARIES = ("libcuda", "libnv", "libnvidia", "nvidia")


def check(subject: Subject, listed: list[Denial]) -> Iterator[Said]:
    """Tell of denials that concern GPUs, and of a boolean that will be missed."""
    by_cause: dict[tuple[str, str, str], list[Denial]] = {}
    codes = {code.id: code for code in CODES}
    for one in listed:
        code, command = _cause(subject, one)
        if code:
            by_cause.setdefault((code.id, command, one.source), []).append(one)
    for (name, command, _source), ones in by_cause.items():
        yield from _findings(codes[name], command, ones)
    if not any(name == DEVICES.id for name, _, _ in by_cause):
        yield from _ahead()


def where() -> str:
    """Return where denials stand: in auditd's file, or without auditd in the kernel's log."""
    return denials.PATH if os.path.exists(denials.PATH) else kernel_log.PATH


def times(ones: list[Denial]) -> str:
    """Return how often it happened, and when for the last time."""
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(ones[-1].time))
    return f"{'once' if len(ones) == 1 else f'{len(ones)} times'}, last on {last}"


def _findings(code: Code, command: str, ones: list[Denial]) -> Iterator[Said]:
    last = ones[-1]
    permissions = sorted({word for one in ones for word in one.operation.split()})
    what = f"{last.program} ({last.source}) was denied {' '.join(permissions)} of {last.path}"
    what += f" ({last.target}), {times(ones)}"
    engines = labelling() if code in (DEVICES, FILES) else []
    # Nodes in /dev/dri are for graphics, and may be another vendor's.
    severity = WARNING if last.target == OF_DRI else ""
    for engine in engines or [""]:
        yield Finding(
            code=code,
            what=what,
            where=where(),
            command=command,
            engine=engine,
            severity=severity,
        )


def _cause(subject: Subject, denial: Denial) -> tuple[Code | None, str]:
    """Return what a denial comes to, and what mends it; no code for what is mended, or not ours."""
    kind, name = denial.fields.get("tclass", ""), os.path.basename(denial.path)
    if kind == "chr_file":
        is_dri = denial.target == OF_DRI
        if not is_dri and denial.target != OF_NVIDIA and not name.startswith("nvidia"):
            return None, ""
        if denial.target == UNTYPED:
            return _of_untyped(denial)
        return _of_boolean(denial, (DRI if is_dri else NARROW, WIDE))
    if kind not in ("file", "lnk_file", "dir") or not name.startswith(LIBRARIES):
        return None, ""
    if denial.source in CONTAINERS:
        return _of_file(subject, denial)
    if "execute" in denial.operation and name.startswith("nvidia-c"):
        return _of_program(denial, name)
    return None, ""


def _of_untyped(denial: Denial) -> tuple[Code | None, str]:
    node = "/dev/" + denial.path.removeprefix("/dev/")
    is_mended = selinux.type_of(node) not in ("", UNTYPED)
    return (None, "") if is_mended else (NODES, RESTORE_NODES)


def _of_boolean(denial: Denial, names: tuple[str, str]) -> tuple[Code | None, str]:
    if denial.source not in CONTAINERS:
        module = "nvidia-gpu-" + denial.source.removesuffix("_t")
        words = f"ausearch -m AVC -su {denial.source} --raw | audit2allow -M {module}"
        return DEVICES, f"{words} && semodule -i {module}.pp"
    narrow, wide = map(selinux.boolean, names)
    # Of old, container_use_devices did not allow to map a node: fedora-selinux#1695.
    is_enough = narrow is not None or "map" not in denial.operation.split()
    if narrow or (wide and is_enough):
        return None, ""
    if wide or (narrow is None and wide is None):
        return DEVICES, "dnf upgrade container-selinux"
    return DEVICES, f"setsebool -P {names[narrow is None]} on"


def _of_file(subject: Subject, denial: Denial) -> tuple[Code | None, str]:
    driver, name = Driver(subject.driver_root), os.path.basename(denial.path)
    try:  # the event has the container's path, or none
        paths = driver.libraries(name) if name.startswith("lib") else [driver.executable(name)]
    except NvidiaRuntimeError:
        return None, ""
    path = next(filter(None, paths), "")
    if not path or selinux.type_of(path) not in ("", denial.target):
        return None, ""
    return FILES, f"restorecon -Rv {os.path.dirname(path) if name.startswith('lib') else path}"


def _of_program(denial: Denial, name: str) -> tuple[Code | None, str]:
    path = denial.path if denial.path.startswith("/") else shutil.which(name) or name
    if selinux.type_of(os.path.realpath(path)) not in ("", denial.target):
        return None, ""
    folder = os.path.dirname(os.path.realpath(path)) if path.startswith("/") else "/FOLDER"
    words = f"semanage fcontext -a -t bin_t '{folder}(/.*)?'"
    return PROGRAMS, f"{words} && restorecon -R {folder}"


def _ahead() -> Iterator[Said]:
    """Tell of a boolean that is off where an engine labels containers, before one is denied."""
    states = {name: selinux.boolean(name) for name in (NARROW, WIDE)}
    present = [name for name, state in states.items() if state is not None]
    if not present or any(states.values()) or selinux.type_of(CONTROL) != OF_NVIDIA:
        return
    engines = labelling()
    if engines:
        yield Finding(
            code=DEVICES,
            what=f"the boolean {present[0]} is off, and {', '.join(engines)} labels containers",
            where=f"{selinux.FOLDER}/booleans/{present[0]}",
            command=f"setsebool -P {present[0]} on",
            severity=WARNING,
        )


def labelling() -> list[str]:
    """Return the engines here that give containers SELinux labels: podman does, others if told."""
    from nvidia_runtime.engines.supported import ENGINES  # heavy: TOML

    names = []
    for name, engine in ENGINES.items():
        if not engine.labels_if:
            names += [name] if shutil.which(engine.program) else []
            continue
        for profile in engine.profiles:
            try:
                layers = engine.layers(expanded(profile.config), View())
            except NvidiaRuntimeError:  # `engines` tells of it
                continue
            if any(_has(document, engine.labels_if) for _path, document in layers):
                names.append(name)
                break
    return names


def _has(document: object, key: str) -> bool:
    """Whether a document switches something on, in whatever table."""
    if isinstance(document, dict):
        return document.get(key) is True or any(_has(value, key) for value in document.values())
    return False
