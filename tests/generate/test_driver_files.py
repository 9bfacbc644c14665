# SPDX-License-Identifier: Apache-2.0
"""The driver's files that every container gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from host import trees

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import driver_files, graphics
from nvidia_runtime.generate.options import Options
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine
from nvidia_runtime.simulate import elf

VERSION = trees.VERSION
LIB = trees.LIBRARIES
READ_ONLY = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
SOCKET = ["nosuid", "nodev", "rbind", "rprivate", "noexec"]


def machine(root: str, **options: Any) -> Machine:
    return Machine(Driver(root, **options), kernel_root=root)


def make(tmp_path: Path, tree: dict[str, str]) -> str:
    """Make a driver root whose libraries are libraries."""
    root = trees.make(tmp_path, trees.DRIVER | tree)
    for path in tmp_path.rglob("*.so*"):
        if path.is_file() and not path.is_symlink() and not path.read_bytes():
            path.write_bytes(elf.shared_object(path.name.partition(".so")[0] + ".so.1", "x86_64"))
    return root


def mounts(root: str, entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the options of mounts by path, which is the same on the host below the root."""
    assert all(entry["hostPath"] == root + entry["containerPath"] for entry in entries)
    return {entry["containerPath"]: entry["options"] for entry in entries}


def edits(root: str, *flags: str, warnings: list[str] | None = None) -> dict[str, Any]:
    options = Options().but(flags=frozenset(flags))
    said: list[str] = []
    result = driver_files.edits(options, machine(root), VERSION, said)
    assert said == (warnings or [])
    return result


def test_libraries_are_those_of_the_driver_s_version(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            f"{LIB}/libnvidia-glcore.so.{VERSION}": "",
            f"{LIB}/libnvidia-other.so.1.2.3": "",
            f"{LIB}/vdpau/libvdpau_nvidia.so.{VERSION}": "",
            f"{LIB}/libnvidia-nvvm70.so.4": "",
            f"{LIB}/libEGL.so.1": "",
            f"{LIB}/libEGL.so": "-> libEGL.so.1",
            f"{LIB}/libnvidia-api.so.1": "",
            f"lib64/libx.so.{VERSION}": "",
        },
    )

    plain = driver_files.libraries(Driver(root), VERSION, is_explicit=False)
    explicit = driver_files.libraries(Driver(root), VERSION, is_explicit=True)

    assert [path[len(root) + 1 :] for path in plain] == [
        f"{LIB}/libcuda.so.{VERSION}",
        f"{LIB}/libnvidia-glcore.so.{VERSION}",
        f"{LIB}/vdpau/libvdpau_nvidia.so.{VERSION}",
        f"lib64/libx.so.{VERSION}",
        f"{LIB}/libnvidia-nvvm70.so.4",
    ]
    assert explicit == [
        *plain,
        f"{root}/{LIB}/libEGL.so.1",
        f"{root}/{LIB}/libnvidia-api.so.1",
    ]


def test_links_cache_and_variable(tmp_path: Path) -> None:
    root = make(tmp_path, {f"lib64/libcuda.so.{VERSION}": f"-> ../{LIB}/libcuda.so.{VERSION}"})

    result = edits(root)

    assert result["env"] == [f"NVIDIA_CTK_LIBCUDA_DIR=/{LIB}"]
    assert [hook["args"][1:] for hook in result["hooks"]] == [
        [
            "create-symlinks",
            *("--link", f"libcuda.so.1::/{LIB}/libcuda.so"),
            *("--link", f"libcuda.so.{VERSION}::/{LIB}/libcuda.so.1"),
        ],
        ["enable-cuda-compat", f"--host-driver-version={VERSION}"],
        ["update-ldcache", "--folder", f"/{LIB}"],
    ]


def test_a_file_that_is_no_library_is_mounted_without_links(tmp_path: Path) -> None:
    root = make(tmp_path, {f"{LIB}/libodd.so.{VERSION}": "text"})

    path = f"{root}/{LIB}/libodd.so.{VERSION}"
    warning = f"{path} is not a shared library: there will be no links to it in containers"
    result = edits(root, warnings=[warning])

    assert f"/{LIB}/libodd.so.{VERSION}" in mounts(root, result["mounts"])


def test_ldconfig_of_the_options(tmp_path: Path) -> None:
    options = Options().but(ldconfig="/sbin/ldconfig.real")

    (hook,) = driver_files.ldcache_hook(options, ["/opt/libcuda.so.1"])

    assert hook["args"][1:] == [
        *("update-ldcache", "--ldconfig-path", "/sbin/ldconfig.real", "--folder", "/opt")
    ]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/a/libcuda.so.1", True),
        ("/a/libcuda.so", True),
        ("/a/lib.so.1", False),
        ("/a/libcuda.socket", False),
        ("/a/nvidia_drv.so", False),
        ("/lib.so.d/x", False),
    ],
)
def test_what_the_loader_s_cache_knows(path: str, counts: bool) -> None:
    assert bool(driver_files.ldcache_hook(Options(), [path])) is counts


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param(
            {"run/nvidia-persistenced/socket": ""}, {"/run/nvidia-persistenced/socket": SOCKET}
        ),
        pytest.param(
            {"var/run/nvidia-fabricmanager/socket": ""},
            {"/var/run/nvidia-fabricmanager/socket": SOCKET},
            id="only below /var/run",
        ),
        pytest.param(
            {"run/nvidia-persistenced/socket": "", "var/run/nvidia-persistenced/socket": ""},
            {"/run/nvidia-persistenced/socket": SOCKET},
            id="below both",
        ),
        pytest.param({"run/nvidia-persistenced/socket/": ""}, {}, id="a folder is no socket"),
        pytest.param({"tmp/nvidia-mps/": ""}, {}, id="the pipes of MPS are asked for"),
    ],
)
def test_ipc(tree: dict[str, str], expected: dict[str, list[str]], tmp_path: Path) -> None:
    root = trees.make(tmp_path, tree)

    assert mounts(root, driver_files.ipc_mounts(machine(root))) == expected


def test_no_ipc_by_flag(tmp_path: Path) -> None:
    root = make(tmp_path, {"run/nvidia-persistenced/socket": ""})

    assert "/run/nvidia-persistenced/socket" in mounts(root, edits(root)["mounts"])
    without = edits(root, "disable-ipc-discoverer")["mounts"]
    assert "/run/nvidia-persistenced/socket" not in mounts(root, without)


def test_pipes_of_mps_by_flag(tmp_path: Path) -> None:
    """Whoever reads the spec after a boot may find anybody's link there."""
    root = make(tmp_path, {"tmp/nvidia-mps/": ""})

    assert "/tmp/nvidia-mps" not in mounts(root, edits(root)["mounts"])
    asked = mounts(root, edits(root, "enable-mps-pipes")["mounts"])
    assert asked["/tmp/nvidia-mps"] == SOCKET


def test_firmware_wherever_the_kernel_looks(tmp_path: Path) -> None:
    release = os.uname().release
    root = trees.make(
        tmp_path,
        {
            f"opt/fw/nvidia/{VERSION}/gsp_ga10x.bin": "",
            f"lib/firmware/{release}/nvidia/{VERSION}/gsp_tu10x.bin": "",
            f"lib/firmware/nvidia/{VERSION}/gsp_tu10x.bin": "",
            f"lib/firmware/nvidia/{VERSION}/gsp.txt": "",
            "lib/firmware/nvidia/1.2/gsp_tu10x.bin": "",
            "sys/module/firmware_class/parameters/path": "/opt/fw\n",
        },
    )

    entries = mounts(root, driver_files.firmware_mounts(machine(root), VERSION))

    assert entries == {
        f"/opt/fw/nvidia/{VERSION}/gsp_ga10x.bin": READ_ONLY,
        f"/lib/firmware/{release}/nvidia/{VERSION}/gsp_tu10x.bin": READ_ONLY,
        f"/lib/firmware/nvidia/{VERSION}/gsp_tu10x.bin": READ_ONLY,
    }


def test_programs_are_the_first_that_may_be_executed(tmp_path: Path) -> None:
    root = trees.make(
        tmp_path, {"opt/nvidia-smi": "", "usr/bin/nvidia-smi": "", "usr/bin/nvidia-imex": ""}
    )
    (tmp_path / "usr/bin/nvidia-smi").chmod(0o755)

    entries = driver_files.binary_mounts(machine(root, path="/opt"))

    assert mounts(root, entries) == {"/usr/bin/nvidia-smi": READ_ONLY}


@pytest.mark.parametrize(("branch", "count"), [("tesla-470", 1), ("tesla-550", 0), ("current", 0)])
def test_program_of_another_driver_is_told(branch: str, count: int, tmp_path: Path) -> None:
    file = f"usr/lib/nvidia/{branch}/nvidia-smi"
    root = make(tmp_path, {file: "", "usr/bin/nvidia-smi": f"-> /{file}"})
    (tmp_path / file).chmod(0o755)

    warning = f"{root}/usr/bin/nvidia-smi is {root}/{file}, of another driver than {VERSION}"
    edits(root, warnings=[warning] * count)


def test_alternatives_of_a_driver_root_stay_in_it(tmp_path: Path) -> None:
    """Absolute links: the mounts have their names, and what they mean there."""
    own = {
        "usr/bin/nvidia-smi": "-> /etc/alternatives/smi",
        "etc/alternatives/smi": "-> /usr/lib/nvidia/current/nvidia-smi",
        "usr/lib/nvidia/current/nvidia-smi": "",
        "usr/bin/nvidia-debugdump": "-> /bin/sh",  # the host's, and not there below the root
        "usr/share/nvidia/nvoptix.bin": "-> /usr/lib/nvidia/current/nvoptix.bin",
        "usr/lib/nvidia/current/nvoptix.bin": "",
        "usr/lib/xorg/modules/drivers/nvidia_drv.so": "-> /usr/lib/nvidia/current/nvidia_drv.so",
        "usr/lib/nvidia/current/nvidia_drv.so": "",
        "usr/lib64": f"-> /{LIB}",
        "lib/firmware/nvidia": "-> /usr/lib/nvidia/firmware",
        f"usr/lib/nvidia/firmware/{VERSION}/gsp_ga10x.bin": "",
    }
    root = make(tmp_path, own)
    current = f"{root}/usr/lib/nvidia/current"
    (tmp_path / "usr/lib/nvidia/current/nvidia-smi").chmod(0o755)

    entries = [
        *driver_files.binary_mounts(machine(root)),
        *driver_files.firmware_mounts(machine(root), VERSION),
        *graphics.edits(Driver(root), VERSION, "/hook")["mounts"],
    ]

    assert {entry["containerPath"]: entry["hostPath"] for entry in entries} == {
        "/usr/bin/nvidia-smi": f"{current}/nvidia-smi",
        "/usr/share/nvidia/nvoptix.bin": f"{current}/nvoptix.bin",
        "/usr/lib/xorg/modules/drivers/nvidia_drv.so": f"{current}/nvidia_drv.so",
        f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin": (
            f"{root}/usr/lib/nvidia/firmware/{VERSION}/gsp_ga10x.bin"
        ),
    }


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("570.1", f"has the driver's libraries of version {VERSION}, but 570.1 is loaded"),
        ("", "has no libcuda.so.VERSION and no libnvidia-ml.so.VERSION"),
    ],
    ids=["another version", "unknown version"],
)
def test_no_libraries_of_the_version(version: str, says: str, tmp_path: Path) -> None:
    root = make(tmp_path, {})

    with pytest.raises(NvidiaRuntimeError) as error:
        driver_files.edits(Options(), machine(root), version, [])

    assert str(error.value) == f"{root}: {says}"
    assert error.value.hint
