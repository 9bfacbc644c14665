# SPDX-License-Identifier: Apache-2.0
"""What doctor says of the driver."""

from __future__ import annotations

from typing import Any

import pytest
import simulated

from nvidia_runtime.doctor import driver
from nvidia_runtime.doctor.driver import absence, places
from nvidia_runtime.doctor.driver import kernel as driver_kernel
from nvidia_runtime.doctor.driver import libraries as driver_libraries
from nvidia_runtime.doctor.finding import ERROR, NOTE, WARNING, Code
from nvidia_runtime.host import module_files, processes

from .patient import AS_USER, after, examine

T4 = "0000:00:1e.0"
PCI = "/sys/bus/pci/devices"
LIB = "/usr/lib/x86_64-linux-gnu"
UNLOADED = "mount -t tmpfs tmpfs /proc/driver/nvidia\nrm -r /sys/module/nvidia"
MODULES = "/lib/modules/$(uname -r)"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
MOVE_LIBRARIES = f"mv {LIB}/libcuda.so* {LIB}/libnvidia*.so*"


def bound(driver_name: str, address: str = T4) -> str:
    return f"ln -snf /sys/bus/pci/drivers/{driver_name} {PCI}/{address}/driver"


def rooted(root: str) -> str:
    text = f"printf '[nvidia-container-cli]\\nroot = \"{root}\"\\n'"
    return f"mkdir -p /etc/nvidia-container-runtime; {text} > {CONFIG}"


def renamed(version: str) -> str:
    """Make the driver one of another version, its libraries and modules."""
    return f"""
    sed -i s/580.95.05/{version}/ /proc/driver/nvidia/version /sys/module/*/version
    cd /usr/lib
    for old in $(find */vdpau */lib*.580.95.05 xorg -name 'lib*.580.95.05'); do
        mv $old ${{old%580.95.05}}{version}
    done
    ldconfig
    sed -i 's/Open Kernel/Kernel/' /proc/driver/nvidia/version
    """


SECURE_BOOT = f"""
mount -t tmpfs tmpfs /sys/firmware
mkdir -p /sys/firmware/efi/efivars
printf '\\006\\000\\000\\000\\001' > {module_files.SECURE_BOOT}
"""

FAULTS = [
    pytest.param("t4x1", UNLOADED, absence.NOT_LOADED, ERROR, "nvidia.ko", id="not loaded"),
    pytest.param("nogpu", "", absence.NO_GPU, ERROR, PCI, id="no GPU"),
    pytest.param(
        "t4x1",
        f"{UNLOADED}\n{bound('nouveau')}",
        absence.HAS_NOUVEAU,
        ERROR,
        T4,
        id="nouveau",
    ),
    pytest.param(
        "t4x1",
        f"rm -r {PCI}/* /proc/driver/nvidia/gpus/*",
        absence.NO_GPU,
        ERROR,
        "the driver is loaded",
        id="no GPU for a driver",
    ),
    pytest.param(
        "t4x1", f"{UNLOADED}\n{bound('vfio-pci')}", absence.HAS_VFIO, ERROR, T4, id="vfio"
    ),
    pytest.param(
        "t4x1",
        f"""{UNLOADED}
        mkdir -p {MODULES}/extra/drivers/video/nvidia
        mv {MODULES}/updates/dkms/nvidia.ko {MODULES}/extra/drivers/video/nvidia/nvidia.ko.xz""",
        absence.NOT_LOADED,
        ERROR,
        "extra/drivers/video/nvidia/nvidia.ko.xz",
        id="module of RHEL",
    ),
    pytest.param(
        "t4x1",
        f"{UNLOADED}\nrm -r /lib/modules/*",
        absence.NOT_INSTALLED,
        ERROR,
        "nor for another one",
        id="no module at all",
    ),
    pytest.param(
        "t4x1",
        f"{UNLOADED}\nmv {MODULES} /lib/modules/5.0.0-old",
        absence.OTHER_KERNEL,
        ERROR,
        "5.0.0-old",
        id="module of another kernel",
    ),
    pytest.param(
        "t4x1",
        f"{UNLOADED}\nmkdir -p /etc/modprobe.d; echo blacklist nvidia > /etc/modprobe.d/x.conf",
        absence.BLACKLISTED,
        ERROR,
        "'blacklist nvidia'",
        id="blacklist",
    ),
    pytest.param(
        "t4x1",
        f"""{UNLOADED}
        mkdir -p /etc/modprobe.d /usr/lib/modprobe.d
        echo blacklist nvidia > /etc/modprobe.d/x.conf
        echo install nvidia /bin/false > /usr/lib/modprobe.d/z.conf""",
        absence.BLACKLISTED,
        ERROR,
        "'install nvidia /bin/false'",
        id="install false",
    ),
    pytest.param(
        "t4x1",
        f"""{UNLOADED}
        echo modprobe.blacklist=nouveau,nvidia > /tmp/cmdline
        mount --bind /tmp/cmdline /proc/cmdline; rm /tmp/cmdline""",
        absence.BLACKLISTED,
        ERROR,
        "modprobe.blacklist=",
        id="command line",
    ),
    pytest.param(
        "t4x1",
        f"""{UNLOADED}
        echo unsigned > {MODULES}/updates/dkms/nvidia.ko{SECURE_BOOT}""",
        absence.UNSIGNED,
        ERROR,
        "no signature",
        id="unsigned",
    ),
    pytest.param(
        "t4x1",
        f"{UNLOADED}{SECURE_BOOT}",
        absence.NOT_LOADED,
        ERROR,
        "may refuse it",
        id="signed by whom",
    ),
    pytest.param(
        "t4x1",
        f"rm {LIB}/libcuda* {LIB}/libnvidia-ml*",
        places.NO_LIBRARIES,
        ERROR,
        "libcuda.so.1",
        id="no libraries",
    ),
    pytest.param(
        "t4x1",
        f"""rm {LIB}/libcuda.so* {LIB}/libnvidia-ml*; mkdir -p /usr/lib/i386-linux-gnu
        printf '\\177ELF\\001' > /usr/lib/i386-linux-gnu/libcuda.so.1""",
        places.ONLY_32,
        ERROR,
        "32 bits",
        id="only 32-bit libraries",
    ),
    pytest.param(
        "t4x1",
        f"rm {LIB}/libcuda.so*",
        driver_libraries.NO_CUDA,
        ERROR,
        "580.95.05",
        id="no libcuda",
    ),
    pytest.param(
        "a100x8",
        f"touch {LIB}/libnvidia-new.so.590.10",
        driver_libraries.UPDATING,
        WARNING,
        "libnvidia-new.so.590.10",
        id="update in progress",
    ),
    pytest.param(
        "a100x8",
        f"touch {LIB}/libnvidia-new.so.590.10; touch -d '1 hour ago' {LIB}",
        driver_libraries.SIDE_BY_SIDE,
        WARNING,
        "libnvidia-new.so.590.10",
        id="newer library left",
    ),
    pytest.param(
        "a100x8",
        f"cp {LIB}/libcuda.so.580.95.05 {LIB}/libcuda.so.535.10; touch -d '1 hour ago' {LIB}",
        driver_libraries.SIDE_BY_SIDE,
        NOTE,
        "535.10",
        id="older libraries left",
    ),
    pytest.param(
        "t4x1",
        f"mkdir -p /opt/nvidia/lib64; {MOVE_LIBRARIES} /opt/nvidia/lib64; rm /etc/ld.so.cache",
        places.OUTSIDE_CACHE,
        ERROR,
        "libcuda.so.1 is there",
        id="outside of the cache",
    ),
    pytest.param(
        "t4x1",
        f"{MOVE_LIBRARIES} /usr/lib; rm /etc/ld.so.cache",
        places.OUTSIDE_CACHE,
        ERROR,
        "libcuda.so.1 is there",
        id="no cache",
    ),
    pytest.param(
        "t4x1",
        f"{rooted('/run/nvidia/driver')}; mkdir -p /run/nvidia/driver",
        places.ROOT_EMPTY,
        ERROR,
        "the machine itself has one",
        id="empty driver root",
    ),
    pytest.param(
        "t4x1",
        f"""mkdir -p /run/nvidia/driver{LIB}
        {MOVE_LIBRARIES} /run/nvidia/driver{LIB}; rm /etc/ld.so.cache""",
        places.ROOT_ELSEWHERE,
        ERROR,
        "/run/nvidia/driver",
        id="driver below a root",
    ),
    pytest.param(
        "t4x1",
        f"mkdir -p {LIB}/nvidia/current; {MOVE_LIBRARIES} {LIB}/nvidia/current",
        places.OUTSIDE_CACHE,
        NOTE,
        "lacks libcuda.so.1",
        id="outside of the cache, in a usual folder",
    ),
    pytest.param(
        "t4x1",
        f"rm {LIB}/libnvidia-ml.so.1",
        driver_libraries.LINK_MISSING,
        WARNING,
        "libnvidia-ml.so.1 is not there",
        id="no link",
    ),
    pytest.param(
        "a100x8",
        "rm -r /lib/firmware/nvidia",
        driver_kernel.NO_FIRMWARE,
        WARNING,
        "/lib/firmware/nvidia/580.95.05 has no gsp*.bin",
        id="no firmware",
    ),
    pytest.param(
        "t4x1",
        f"chmod 711 {LIB}; {AS_USER}",
        driver_libraries.UNREADABLE,
        ERROR,
        "cannot be",
        id="folder that cannot be listed",
    ),
    pytest.param(
        "t4x1",
        "sed /nvidia-uvm/d /proc/devices > /tmp/x; cat /tmp/x > /proc/devices; rm /tmp/x",
        driver_kernel.NO_UVM,
        ERROR,
        "nvidia-uvm",
        id="no uvm",
    ),
    pytest.param(
        "t4x1", renamed("390.157"), driver_kernel.TOO_OLD, WARNING, "418.81.07", id="too old"
    ),
    pytest.param(
        "gb200x4",
        f"""sed -i 's/Open Kernel Module for/Kernel Module for/' /proc/driver/nvidia/version
        rm -r /proc/driver/nvidia/gpus/*; rm {PCI}/*/driver""",
        driver_kernel.FLAVOUR,
        ERROR,
        "the open one is for",
        id="needs open modules",
    ),
    pytest.param(
        "t4x1",
        f"rm -r /proc/driver/nvidia/gpus/*; echo 0x1b38 > {PCI}/{T4}/device; rm {PCI}/{T4}/driver",
        driver_kernel.FLAVOUR,
        ERROR,
        "the proprietary one is for",
        id="needs proprietary modules",
    ),
    pytest.param(
        "a100x8",
        f"rm -r /proc/driver/nvidia/gpus/0000:bd:00.0; rm {PCI}/0000:bd:00.0/driver",
        driver_kernel.NOT_DRIVEN,
        WARNING,
        "no driver has",
        id="one of eight not driven",
    ),
    pytest.param(
        "t4x1",
        f"rm -r /proc/driver/nvidia/gpus/*; {bound('other')}",
        driver_kernel.NOT_DRIVEN,
        ERROR,
        "the driver other has",
        id="driven by another",
    ),
    pytest.param(
        "a100x8",
        f"rm -r /proc/driver/nvidia/gpus/0000:bd:00.0; {bound('vfio-pci', '0000:bd:00.0')}",
        absence.HAS_VFIO,
        NOTE,
        "0000:bd:00.0",
        id="one of eight for a virtual machine",
    ),
    pytest.param(
        "a100x8",
        f"rm -r /proc/driver/nvidia/gpus/0000:bd:00.0; {bound('nouveau', '0000:bd:00.0')}",
        absence.HAS_NOUVEAU,
        WARNING,
        "0000:bd:00.0",
        id="nouveau has one of eight",
    ),
    pytest.param(
        "t4x1",
        f"rm -r /sys/module/nvidia_drm; echo 0x030000 > {PCI}/{T4}/class",
        driver_kernel.NO_DRM,
        NOTE,
        "/sys/module/nvidia_drm",
        id="no drm",
    ),
    pytest.param(
        "h100x8",
        "rm -r /run/nvidia-fabricmanager",
        driver_kernel.NO_FABRIC_MANAGER,
        ERROR,
        "4 NVSwitches",
        id="no fabric manager",
        marks=pytest.mark.skipif(not processes.sees_all(), reason="in a container"),
    ),
]


@pytest.mark.parametrize(("machine", "fault", "code", "severity", "words"), FAULTS)
def test_fault(machine: str, fault: str, code: Code, severity: str, words: str) -> None:
    answer = examine(machine, fault)

    assert answer.codes("NCT-01") == [code.id]
    finding = answer.finding(code.id)
    assert finding["severity"] == severity
    assert words in finding["what"]
    assert answer.code == 1 or severity != ERROR


def test_versions_differ() -> None:
    answer = examine("t4x1", mismatch=True)

    assert answer.codes("NCT-01") == [driver_libraries.MISMATCH.id]
    what = answer.finding(driver_libraries.MISMATCH.id)["what"]
    assert what == "the kernel module is 575.57.08, the libraries are 580.95.05"


def test_link_to_another_version() -> None:
    """The older one is a leftover, and what programs load."""
    fault = f"""
    cp {LIB}/libcuda.so.580.95.05 {LIB}/libcuda.so.535.10
    ln -sf libcuda.so.535.10 {LIB}/libcuda.so.1
    touch -d '1 hour ago' {LIB}
    """
    answer = examine("t4x1", fault)

    what = answer.finding(driver_libraries.LINK_MISSING.id)["what"]
    assert what == "libcuda.so.1 leads to libcuda.so.535.10; 580.95.05 is loaded"


def test_every_code_has_its_fault() -> None:
    tried = {driver_libraries.MISMATCH, *(values_of(row)[2] for row in FAULTS)}

    assert set(driver.CODES) == tried


def values_of(row: Any) -> tuple[Any, ...]:
    values: tuple[Any, ...] = row.values
    return values


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(f"rm {LIB}/libcuda.so.1", driver_libraries.LINK_MISSING, id="no link"),
        pytest.param(
            f"mkdir -p /opt/nvidia/lib64; {MOVE_LIBRARIES} /opt/nvidia/lib64; rm /etc/ld.so.cache",
            places.OUTSIDE_CACHE,
            id="outside of the cache",
        ),
        pytest.param(
            f"{rooted('/run/nvidia/driver')}; mkdir -p /run/nvidia/driver",
            places.ROOT_EMPTY,
            id="empty driver root",
        ),
        pytest.param(
            f"""mkdir -p /run/nvidia/driver{LIB}
            {MOVE_LIBRARIES} /run/nvidia/driver{LIB}; rm /etc/ld.so.cache""",
            places.ROOT_ELSEWHERE,
            id="driver below a root",
        ),
    ],
)
def test_command_helps(fault: str, code: Code) -> None:
    assert after("t4x1", fault, code.id).codes("NCT-01") == []


@pytest.mark.parametrize("machine", simulated.names(loaded=True))
def test_silent(machine: str) -> None:
    """But of GPUs that are kept for virtual machines there is a note."""
    kept = [absence.HAS_VFIO.id] if machine == "vfio" else []

    assert examine(machine).codes("NCT-01") == kept
