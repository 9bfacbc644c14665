# SPDX-License-Identifier: Apache-2.0
"""The driver's 32-bit libraries where distributions have them, told by what the files are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvidia_runtime.host import compat32
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.simulate import elf

from .test_ldcache import I386, X86_64, cache

VERSION = "580.95.05"
NAMES = ("libcuda.so", "libGLX_nvidia.so", "vdpau/libvdpau_nvidia.so")


def install(root: Path, folder: str, architecture: str, version: str = VERSION) -> list[str]:
    """Write a driver's libraries; return their paths, as a container has them."""
    paths = [f"{folder}/{name}.{version}" for name in NAMES]
    for path in paths:
        file = Path(f"{root}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(elf.shared_object(file.name.partition(".so")[0] + ".so.1", architecture))
    return paths


def located(root: Path, *others: str, folders: tuple[str, ...] = ()) -> list[str]:
    driver = Driver(f"{root}", library_folders=folders)
    paths = compat32.libraries(driver, VERSION, others)
    return [path.removeprefix(f"{root}") for path in paths]


LAYOUTS = {
    "Debian, Ubuntu": ("/usr/lib/x86_64-linux-gnu", "/usr/lib/i386-linux-gnu"),
    "Debian's alternatives": (
        "/usr/lib/x86_64-linux-gnu/nvidia/current",
        "/usr/lib/i386-linux-gnu/nvidia/current",
    ),
    "Fedora, SUSE": ("/usr/lib64", "/usr/lib"),
    "Arch": ("/usr/lib", "/usr/lib32"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_distributions(layout: str, tmp_path: Path) -> None:
    wide, narrow = LAYOUTS[layout]
    install(tmp_path, wide, "x86_64")

    assert located(tmp_path) == []

    assert located(tmp_path) != install(tmp_path, narrow, "i386")
    assert sorted(located(tmp_path)) == sorted(f"{narrow}/{name}.{VERSION}" for name in NAMES)


def test_both_in_one_folder(tmp_path: Path) -> None:
    """The file says what it is for, not where it is."""
    install(tmp_path, "/usr/lib", "x86_64")
    Path(f"{tmp_path}/usr/lib/libnvidia-glcore.so.{VERSION}").write_bytes(
        elf.shared_object("", "i386")
    )

    assert located(tmp_path) == [f"/usr/lib/libnvidia-glcore.so.{VERSION}"]


def test_elsewhere_by_the_loaders_cache(tmp_path: Path) -> None:
    paths = install(tmp_path, "/opt/nvidia/lib32", "i386")
    os.symlink(os.path.basename(paths[0]), f"{tmp_path}/opt/nvidia/lib32/libcuda.so.1")
    (tmp_path / "etc").mkdir()
    rows = [(X86_64, "/opt/nvidia/lib/libcuda.so.1"), (I386, "/opt/nvidia/lib32/libcuda.so.1")]
    (tmp_path / "etc/ld.so.cache").write_bytes(cache(rows))

    assert sorted(located(tmp_path)) == sorted(paths)


def test_where_the_link_of_libcuda_leads(tmp_path: Path) -> None:
    """As Debian's alternatives have it for tesla packages."""
    paths = install(tmp_path, "/usr/lib/i386-linux-gnu/nvidia/tesla-535", "i386")
    link = tmp_path / "etc/alternatives/libcuda"
    link.parent.mkdir(parents=True)
    link.symlink_to(paths[0])
    (tmp_path / "usr/lib/i386-linux-gnu/libcuda.so.1").symlink_to("/etc/alternatives/libcuda")

    assert sorted(located(tmp_path)) == sorted(paths)


def test_folders_that_are_named_are_all(tmp_path: Path) -> None:
    install(tmp_path, "/usr/lib/i386-linux-gnu", "i386")
    install(tmp_path, "/nix/lib", "x86_64")
    own = install(tmp_path, "/nix/lib32", "i386")

    folders = (f"{tmp_path}/nix/lib", f"{tmp_path}/nix/lib32")
    assert sorted(located(tmp_path, folders=folders)) == sorted(own)


def test_link_to_a_folder_is_one_folder(tmp_path: Path) -> None:
    own = install(tmp_path, "/usr/lib/i386-linux-gnu", "i386")
    os.symlink("usr/lib", tmp_path / "lib")

    assert sorted(located(tmp_path)) == sorted(own)


@pytest.mark.parametrize("version", ["575.57.08", "580.95"])
def test_other_versions_are_left_out(version: str, tmp_path: Path) -> None:
    install(tmp_path, "/usr/lib/i386-linux-gnu", "i386", version)

    assert located(tmp_path, "libnvidia-egl-gbm.so.*.*") == []


def test_libraries_with_versions_of_their_own(tmp_path: Path) -> None:
    install(tmp_path, "/usr/lib32", "i386")
    other = "/usr/lib32/libnvidia-egl-gbm.so.1.1.2"
    Path(f"{tmp_path}{other}").write_bytes(elf.shared_object("libnvidia-egl-gbm.so.1", "i386"))

    assert other in located(tmp_path, "libnvidia-egl-gbm.so.*.*")
