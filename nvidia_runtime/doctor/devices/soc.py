# SPDX-License-Identifier: Apache-2.0
"""GPUs that are not on a bus of ours: those of a Tegra SoC, and those of Windows under WSL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nvidia_runtime.compile import machine_file
from nvidia_runtime.doctor.finding import ERROR, WARNING, Code, Finding, Fine, Step
from nvidia_runtime.errors import NvidiaRuntimeError, some
from nvidia_runtime.generate import csv_lists, wsl
from nvidia_runtime.host import facts, nodes, platform, tegra
from nvidia_runtime.host import root as driver_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nvidia_runtime.doctor.finding import Said
    from nvidia_runtime.doctor.subject import Subject
    from nvidia_runtime.host.machine import Machine

# Seconds for libdxcore.
PATIENCE = 2.5
UPDATE = "wsl.exe --update && wsl.exe --shutdown"

NO_LISTS = Code(
    "NCT-0251",
    ERROR,
    "the lists of a Tegra system's files are missing",
    """
    On a Jetson CSV files say what containers get, in
    /etc/nvidia-container-runtime/host-files-for-container.d: devices.csv and drivers.csv of Jetson
    Linux 35 and later, l4t.csv before.  Without them containers get no GPU.
    """,
    """
    apt install nvidia-l4t-init nvidia-container; or install JetPack's nvidia-container packages
    again. Another folder is set by nvidia-container-runtime.modes.csv.mount-spec-path.
    """,
)
LISTED_MISSING = Code(
    "NCT-0252",
    ERROR,
    "the lists of a Tegra system name files that are not there",
    """
    The lists and the files of Jetson Linux are of different releases: one of them was updated
    alone, or packages of the driver (nvidia-l4t-cuda, nvidia-l4t-core) are missing.  A few absent
    files are usual.
    """,
    """
    apt install --reinstall nvidia-l4t-core nvidia-l4t-cuda nvidia-l4t-init, all of one release;
    then restart the machine.
    """,
)
NO_DXG = Code(
    "NCT-0261",
    ERROR,
    "Windows shares no GPU with WSL",
    """
    libdxcore is there, but not /dev/dxg: this is WSL 1, its kernel is old, gpuSupport is off in
    .wslconfig, or Windows has no GPU.  "WSL environment detected but no adapters were found".
    """,
    """
    In Windows: install NVIDIA's driver for Windows (none in Linux), run 'wsl --update', set the
    distribution to version 2 by 'wsl --set-version NAME 2', then 'wsl --shutdown'.
    """,
)
NO_DXCORE = Code(
    "NCT-0262",
    ERROR,
    "libdxcore is missing, by which WSL reaches the GPUs of Windows",
    """
    /dev/dxg is there, but Windows has not mounted /usr/lib/wsl/lib: a setting in /etc/wsl.conf
    (automount, or a mount over /usr/lib/wsl) keeps it out, or WSL is too old.
    """,
    """
    Take away what covers /usr/lib/wsl, run 'wsl --update' in Windows, then 'wsl --shutdown'.
    """,
)
NO_STORE = Code(
    "NCT-0263",
    ERROR,
    "WSL has no driver of NVIDIA's from Windows",
    """
    libdxcore lists no adapter with a driver of NVIDIA's for WSL, or does not answer: the driver of
    Windows is too old or of another vendor's GPU.  "no adapters were
    found".
    """,
    """
    In Windows install NVIDIA's current driver, run 'wsl --update', then 'wsl --shutdown'.
    """,
)
CODES = (NO_LISTS, LISTED_MISSING, NO_DXG, NO_DXCORE, NO_STORE)


def windows(machine: Machine) -> Iterator[Said]:
    """Look at what Windows shares: the node, the library, a driver store."""
    root = machine.driver.root
    if not machine.driver.libraries(platform.DXCORE) and not platform.is_wsl(root):
        place = f"{platform.WSL_FOLDER}/{platform.DXCORE}"
        what = f"{platform.NODE} is there, {platform.DXCORE} is not"
        yield Finding(code=NO_DXCORE, what=what, where=place, command=UPDATE)
        return
    if not nodes.read(machine.dev_root, platform.NODE):
        what = f"there is no device {platform.NODE}"
        yield Finding(code=NO_DXG, what=what, where=platform.NODE, command=UPDATE)
        return
    yield Step(platform.DXCORE)
    machine.patience = PATIENCE
    warnings: list[str] = []
    library = os.path.join(platform.WSL_FOLDER, platform.DXCORE)
    try:
        store = wsl.find_stores(machine, driver_root.join(root, library), warnings)[0]
    except NvidiaRuntimeError as error:
        what = "; ".join([error.what, *warnings])
        yield Finding(code=NO_STORE, what=what, where=error.where, command=UPDATE)
        return
    for warning in warnings:
        yield Finding(code=NO_STORE, what=warning, where=library, command=UPDATE, severity=WARNING)
    yield Fine(f"the driver of Windows in {store}", is_main=True)


def lists(subject: Subject) -> Iterator[Said]:
    """Look at the CSV lists, and for what they name."""
    options = machine_file.options_for(subject.settings, "csv")
    folder = subject.settings[f"{machine_file.CSV}.mount-spec-path"]
    rows, warnings = csv_lists.read(options.csv_files)
    if not any(rows.values()):
        what = "; ".join(warnings) or "no file there is one of devices.csv, drivers.csv, l4t.csv"
        yield Finding(code=NO_LISTS, what=what, where=str(folder))
        return
    root = subject.driver_root or "/"
    libraries = tegra.find_files(root, options.library_folders, rows["lib"])
    devices = tegra.find_nodes(root, rows["dev"])
    absent = [entry for entry, files in libraries.items() if not files]
    cuda = [entry for entry in absent if os.path.basename(entry).startswith(facts.VERSIONED[0])]
    has_devices = any(devices.values()) or not devices
    is_bad = bool(cuda) or not has_devices
    if is_bad or len(absent) * 2 > len(libraries):
        parts = [f"{len(absent)} of {len(libraries)} libraries"]
        parts += [] if has_devices else [f"all {len(devices)} devices"]
        what = f"{' and '.join(parts)} are absent: {some([*cuda, *absent][:4])}"
        severity = "" if is_bad else WARNING
        yield Finding(code=LISTED_MISSING, what=what, where=str(folder), severity=severity)
        return
    count = sum(map(len, rows.values()))
    yield Fine(f"{count} entries of CSV lists", is_main=True)
