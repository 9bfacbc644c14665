# SPDX-License-Identifier: Apache-2.0
"""What takes GPUs away from containers that run: control groups of systemd's; and limits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines import kubernetes
from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding, Step
from nvidia_runtime.engines import difference, program, runtimes
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import device_nodes
from nvidia_runtime.oci import lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

SYSTEMD = "systemd"
LEGACY = "legacy"
RUNC_SINCE = (1, 1, 7)  # https://github.com/opencontainers/runc/pull/3842
NO_CGROUPS = "nvidia-container-cli.no-cgroups"
LOW_LEVEL = f"{runtimes.PROGRAM}.runtimes"
# LimitNOFILE=infinity is fs.nr_open, of which some distributions have 2^30 - 8.
MANY = (1 << 30) - 64
OPEN_FILES = "Max open files"
SECONDS = 1.5

RELOAD = Code(
    "NCT-0450",
    WARNING,
    "containers that run lose their GPUs when systemd reloads",
    """
    The engine has systemd set up control groups.  At 'systemctl daemon-reload', which upgrades of
    packages do, too, systemd sets the devices of a container anew from what its unit says, and
    GPUs that it does not know of are gone: "Failed to initialize NVML: Unknown Error" in a
    container that had worked for days.

    It does not know of them in legacy mode, where nvidia-container-cli adds them behind its back;
    nor by runc before 1.1.7, which names devices by links in /dev/char that nobody makes.
    """,
    """
    'nvidia-ctk system create-dev-char-symlinks --create-all' makes the links (a udev rule or a
    service after each start of the machine), or upgrade runc.  In legacy mode, set another mode:
    'nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto'.  Containers that run
    are to be started anew.
    """,
)
CGROUPS = Code(
    "NCT-0451",
    ERROR,
    "no-cgroups does not fit the engine",
    """
    In legacy mode nvidia-container-cli gives a container the right to use its GPUs by control
    groups.  A rootless engine may not do that, and containers fail: "nvidia-container-cli: mount
    error: failed to add device rules: … bpf_prog_query(BPF_CGROUP_DEVICE) failed: operation not
    permitted".  An engine of root needs it, and with no-cgroups = true nvidia-smi says "Failed to
    initialize NVML: Unknown Error".
    """,
    """
    no-cgroups = true in config.toml is for rootless engines, false for others; a user's own file
    is ~/.config/nvidia-container-runtime/config.toml.  In other modes, auto among them, the setting
    does not matter.
    """,
)
FILES = Code(
    "NCT-0452",
    WARNING,
    "containers may open a billion files",
    """
    The daemon's limit of open files (LimitNOFILE=infinity in its service) is what containers
    inherit.  Programs that look at each number up to the limit become slow: nvidia-smi takes half a
    minute by its connection to nvidia-persistenced, and old Python and Java programs hang.
    """,
    """
    'systemctl edit ENGINE' with [Service] and LimitNOFILE=1048576, and a restart; for docker also
    "default-ulimits" in daemon.json, or 'docker run --ulimit nofile=1024:524288'.
    """,
)
CODES = (RELOAD, CGROUPS, FILES)


def check(facts: Facts, subject: Subject) -> Iterator[Said]:
    """Look at control groups and limits of an engine."""
    yield from _open_files(facts)
    if not facts.programs or not facts.is_seen:
        return
    if subject.mode == LEGACY:
        yield from _no_cgroups(facts, subject)
    if _driver(facts) == SYSTEMD:
        yield from _reload(facts, subject)


def _reload(facts: Facts, subject: Subject) -> Iterator[Said]:
    name = facts.engine
    if subject.mode == LEGACY:
        what = f"{name} has systemd set up control groups, and our mode is legacy"
        yield Finding(code=RELOAD, what=what, where=subject.path, engine=name)
        return
    bare = _without_links()
    if not bare:
        return
    yield Step("the version of the low-level runtime")
    path, version = _low_level(subject)
    if os.path.basename(path) != "runc" or not version or version >= RUNC_SINCE:
        return
    shown = ".".join(map(str, version))
    yield Finding(
        code=RELOAD,
        what=f"{name} has systemd set up control groups, {path} is of version {shown}, and"
        f" /dev/char has no link to {bare[0]}" + (f" and {len(bare) - 1} more" if bare[1:] else ""),
        where="/dev/char",
        command="nvidia-ctk system create-dev-char-symlinks --create-all",
        engine=name,
    )


def _no_cgroups(facts: Facts, subject: Subject) -> Iterator[Said]:
    is_off = bool(subject.settings[NO_CGROUPS])
    is_rootless = facts.daemon.profile.is_rootless
    if is_off != is_rootless:
        whose = "a user's (rootless)" if is_rootless else "root's"
        what = f"{facts.engine} is {whose}, and no-cgroups is {str(is_off).lower()}"
        value = str(is_rootless).lower()
        yield Finding(
            code=CGROUPS,
            what=what,
            where=f"{subject.path}: {NO_CGROUPS}",
            command=f"nvidia-ctk config --in-place --set {NO_CGROUPS}={value}",
            engine=facts.engine,
        )


def _open_files(facts: Facts) -> Iterator[Said]:
    """Look at the limit of open files that containers inherit."""
    if not facts.daemon.pid:
        return
    try:
        with open(f"/proc/{facts.daemon.pid}/limits", encoding="ascii") as file:
            rows = [line.removeprefix(OPEN_FILES).split() for line in file if OPEN_FILES in line]
    except (OSError, ValueError):
        return
    soft = int(rows[0][0]) if rows and rows[0][0].isdigit() else 0
    if soft >= MANY and "default-ulimits" not in facts.document:
        what = f"{facts.engine} (pid {facts.daemon.pid}) may open {soft} files"
        unit = facts.daemon.profile.units[0]
        yield Finding(
            code=FILES,
            what=what,
            where=f"/proc/{facts.daemon.pid}/limits",
            command=f"systemctl edit {unit}",
            engine=facts.engine,
        )


def _driver(facts: Facts) -> str:
    """Return who sets up control groups: systemd, or cgroupfs; "" where that is not known."""
    if steps := facts.daemon.engine.group_manager:
        manager = difference.at(facts.document, steps)
        usual = SYSTEMD if os.path.isdir("/run/systemd/system") else ""
        return manager if isinstance(manager, str) else usual
    if driver := facts.info.get("CgroupDriver"):
        return str(driver)
    entries = difference.at(facts.document, facts.places.runtimes)
    names = facts.written if isinstance(entries, dict) else ()
    is_systemd = any(kubernetes.uses_systemd(entries.get(name)) for name in names)
    return SYSTEMD if is_systemd else ""


def _without_links() -> list[str]:
    """List the nodes of GPUs to which /dev/char has no link."""
    present = device_nodes.present("").items()
    return [
        path
        for path, (major, minor) in present
        if not os.path.lexists(f"/dev/char/{major}:{minor}")
    ]


def _low_level(subject: Subject) -> tuple[str, tuple[int, ...]]:
    """Return the low-level runtime that we run, and its version."""
    search = os.environ.get("PATH", "")
    try:
        path = lowlevel.find(list(subject.settings[LOW_LEVEL]), search, subject.program)
    except NvidiaRuntimeError:
        return "", ()
    return path, program.version(path, path)
