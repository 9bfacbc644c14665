# SPDX-License-Identifier: Apache-2.0
"""Graphics: libraries, X.org modules, configuration, links, DRM nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from host import trees
from host.test_drm import BUS_ID, machine

from nvidia_runtime.generate import graphics
from nvidia_runtime.host.driver import Driver

LIB = trees.LIBRARIES
VERSION = trees.VERSION
HOOK = "/usr/bin/nvidia-cdi-hook"


def edits_of(root: Path, *names: str) -> graphics.Edits:
    """Generate for a driver that has these files besides libcuda."""
    tree = trees.make(root, {**trees.DRIVER, **dict.fromkeys(names, "")})
    return graphics.edits(Driver(tree), VERSION, HOOK)


@pytest.mark.parametrize(
    ("file", "container_path"),
    [
        (f"{LIB}/libnvidia-egl-gbm.so.1.1.1", f"/{LIB}/libnvidia-egl-gbm.so.1.1.1"),
        (f"{LIB}/libnvidia-egl-wayland2.so.1.0", f"/{LIB}/libnvidia-egl-wayland2.so.1.0"),
        (f"{LIB}/nvidia/xorg/nvidia_drv.so", f"/{LIB}/nvidia/xorg/nvidia_drv.so"),
        ("usr/X11R6/lib/modules/drivers/nvidia_drv.so",) * 2,
        ("etc/glvnd/egl_vendor.d/10_nvidia.json", "/usr/share/glvnd/egl_vendor.d/10_nvidia.json"),
        ("usr/local/share/nvidia/nvoptix.bin", "/usr/share/nvidia/nvoptix.bin"),
        ("usr/share/OpenCL/vendors/nvidia.icd", "/etc/OpenCL/vendors/nvidia.icd"),
        ("usr/share/vulkan/icd.d/nvidia_icd.json", "/etc/vulkan/icd.d/nvidia_icd.json"),
        ("vulkan/icd.d/nvidia_icd.json", "/etc/vulkan/icd.d/nvidia_icd.json"),
    ],
)
def test_mount(file: str, container_path: str, tmp_path: Path) -> None:
    assert edits_of(tmp_path, file) == {
        "mounts": [
            {
                "hostPath": f"{tmp_path}/{file}",
                "containerPath": f"/{container_path.lstrip('/')}",
                "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
            }
        ]
    }


@pytest.mark.skipif(os.uname().machine not in graphics.MACHINES, reason="x86_64 or aarch64 only")
def test_vulkan_config_of_the_machine(tmp_path: Path) -> None:
    name = f"vulkan/icd.d/nvidia_icd.{os.uname().machine}.json"
    (mount,) = edits_of(
        tmp_path, f"usr/share/{name}", "usr/share/vulkan/icd.d/nvidia_icd.m68k.json"
    )["mounts"]

    assert mount["containerPath"] == f"/etc/{name}"


@pytest.mark.parametrize(
    ("file", "link", "is_mounted"),
    [
        pytest.param(
            f"{LIB}/libnvidia-allocator.so.{VERSION}",
            f"../libnvidia-allocator.so.1::/{LIB}/gbm/nvidia-drm_gbm.so",
            False,
            id="GBM backend",
        ),
        pytest.param(
            f"{LIB}/nvidia/current/libnvidia-allocator.so.{VERSION}",
            f"../nvidia/current/libnvidia-allocator.so.1::/{LIB}/gbm/nvidia-drm_gbm.so",
            False,
            id="GBM backend of Debian's alternatives",
        ),
        pytest.param(
            f"{LIB}/libnvidia-vulkan-producer.so.{VERSION}",
            f"libnvidia-vulkan-producer.so.{VERSION}::/{LIB}/libnvidia-vulkan-producer.so",
            True,
            id="Vulkan producer",
        ),
        pytest.param(
            f"usr/lib/xorg/modules/extensions/libglxserver_nvidia.so.{VERSION}",
            f"libglxserver_nvidia.so.{VERSION}"
            "::/usr/lib/xorg/modules/extensions/libglxserver_nvidia.so",
            True,
            id="GLX module",
        ),
    ],
)
def test_link(file: str, link: str, is_mounted: bool, tmp_path: Path) -> None:
    edits = edits_of(tmp_path, file)

    assert edits["hooks"][0]["args"] == ["nvidia-cdi-hook", "create-symlinks", "--link", link]
    assert ("mounts" in edits) is is_mounted


def test_link_of_gbm_is_where_libgbm_looks(tmp_path: Path) -> None:
    """Also where the driver's libraries lie in a folder of their own."""
    edits = edits_of(tmp_path, f"{LIB}/nvidia/current/libnvidia-allocator.so.{VERSION}")

    (hook,) = edits["hooks"]
    link = f"../nvidia/current/libnvidia-allocator.so.1::/{LIB}/gbm/nvidia-drm_gbm.so"
    assert hook["args"][-2:] == ["--link", link]


@pytest.mark.parametrize("loaded", [VERSION, "535.1"])
def test_glx_module_that_only_a_link_leads_to(loaded: str, tmp_path: Path) -> None:
    """Debian's alternatives: the file lies in a folder that X.org does not know."""
    module = f"libglxserver_nvidia.so.{VERSION}"
    extensions = "usr/lib/xorg/modules/extensions"
    tree = {
        f"usr/lib/nvidia/current/{module}": "",
        "usr/lib/nvidia/current/libglxserver_nvidia.so": f"-> {module}",
        "etc/alternatives/glx": "-> /usr/lib/nvidia/current/libglxserver_nvidia.so",
        f"{extensions}/libglxserver_nvidia.so": "-> /etc/alternatives/glx",
    }
    root = trees.make(tmp_path, {**trees.DRIVER, **tree})

    edits = graphics.edits(Driver(root), loaded, HOOK)

    if loaded != VERSION:
        assert edits == {}
        return
    (mount,) = edits["mounts"]
    assert mount["hostPath"] == f"{root}/usr/lib/nvidia/current/{module}"
    assert mount["containerPath"] == f"/{extensions}/{module}"
    link = f"{module}::/{extensions}/libglxserver_nvidia.so"
    assert edits["hooks"][0]["args"][-2:] == ["--link", link]


@pytest.mark.parametrize(
    ("modules", "count"),
    [
        ((), 0),
        (("drivers/nvidia_drv.so",), 1),
        (("drivers/nvidia_drv.so", f"extensions/libglxserver_nvidia.so.{VERSION}"), 0),
        ((f"extensions/libglxserver_nvidia.so.{VERSION}",), 0),
    ],
)
def test_driver_of_x_without_its_glx_module_is_told(
    modules: tuple[str, ...], count: int, tmp_path: Path
) -> None:
    names = [f"usr/lib/xorg/modules/{module}" for module in modules]
    root = trees.make(tmp_path, {**trees.DRIVER, **dict.fromkeys(names, "")})

    warnings = graphics.missing_module(Driver(root), VERSION)

    says = f"has nvidia_drv.so and no libglxserver_nvidia.so.{VERSION}: no OpenGL by X.org"
    assert warnings == [f"{root}: {says}"] * count


def test_libraries_of_another_version_are_left_out(tmp_path: Path) -> None:
    names = ("libnvidia-allocator", "libnvidia-vulkan-producer", "nvidia/xorg/libglxserver_nvidia")

    assert edits_of(tmp_path, *[f"{LIB}/{name}.so.535.1" for name in names]) == {}


def test_executable(tmp_path: Path) -> None:
    tree = trees.make(tmp_path, {**trees.DRIVER, "usr/bin/nvidia-xconfig": ""})
    (tmp_path / "usr/bin/nvidia-xconfig").chmod(0o755)
    (mount,) = graphics.edits(Driver(tree), VERSION, HOOK)["mounts"]

    assert mount["containerPath"] == "/usr/bin/nvidia-xconfig"


def test_drm_edits(tmp_path: Path) -> None:
    root = machine(tmp_path)
    edits = graphics.drm_edits([BUS_ID], f"{root}/sys", root, HOOK)

    assert [node["path"] for node in edits["deviceNodes"]] == [
        "/dev/dri/card1",
        "/dev/dri/renderD128",
    ]
    link = f"../card1::/dev/dri/by-path/pci-{BUS_ID}-card"
    assert edits["hooks"][0]["args"][2:] == ["--link", link]


def test_no_drm_devices(tmp_path: Path) -> None:
    assert graphics.drm_edits([BUS_ID], f"{tmp_path}/sys", f"{tmp_path}", HOOK) == {}
