# SPDX-License-Identifier: Apache-2.0
"""What takes GPUs away from containers that run: control groups of systemd's; and limits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.doctor.engines import kubernetes
from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding
from nvidia_runtime.engines import difference, runtimes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.engines.facts import Facts
    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject

SYSTEMD = "systemd"
LEGACY = "legacy"
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

    It does not know of them in legacy mode, where nvidia-container-cli adds them behind its back.
    Of an old runc, which names devices by links that nobody makes, NCT-0212 tells.
    """,
    """
    Set another mode: 'nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto'.
    'nvidia-ctk repair --all' gives containers that run their rules back until the next reload.
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
    yield Finding(
        code=RELOAD,
        what=f"{facts.engine} has systemd set up control groups, and our mode is legacy",
        where=subject.path,
        command="nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto",
        engine=facts.engine,
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
