# SPDX-License-Identifier: Apache-2.0
"""The installed driver: libraries, version, executables, configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import driver
from nvidia_runtime.host.driver import Driver

from . import trees
from .test_ldcache import X86_64, cache


def test_libraries_are_resolved_and_given_once(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {**trees.DRIVER, "lib": "-> usr/lib"})

    paths = Driver(root).libraries("libcuda.so*")

    assert paths == [f"{root}/{trees.LIBRARIES}/libcuda.so.{trees.VERSION}"]


def test_libraries_in_the_order_of_folders(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"libx.so.1": "", "lib64/libx.so.1": "", "usr/lib64/libx.so.1": ""})

    paths = [path[len(root) :] for path in Driver(root).libraries("libx.so.*")]

    assert paths == ["/libx.so.1", "/usr/lib64/libx.so.1", "/lib64/libx.so.1"]


def test_folders_and_dangling_links_are_no_libraries(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"lib64/liba.so.1/": "", "lib64/libb.so.1": "-> nothing"})

    assert Driver(root).libraries("lib*.so.1") == []


def test_libraries_only_in_the_folders_that_are_named(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {**trees.DRIVER, "opt/libcuda.so.1.2": ""})
    installed = Driver(root, library_folders=(f"{root}/opt",))

    assert installed.libraries("libcuda.so.*.*") == [f"{root}/opt/libcuda.so.1.2"]
    assert installed.libraries("libnvidia-ml.so.*") == []


def test_libraries_elsewhere_are_found_in_the_cache(tmp_path: Path) -> None:
    tree = {"opt/nv/libcuda.so.550.1": "", "opt/nv/libcuda.so.1": "-> /opt/nv/libcuda.so.550.1"}
    root = trees.make(tmp_path, {**tree, "etc/": ""})
    rows = [(X86_64, "/opt/nv/libcuda.so.1"), (X86_64, "/opt/nv/libgone.so.1")]
    (tmp_path / "etc/ld.so.cache").write_bytes(cache(rows))
    installed = Driver(root)

    assert installed.libraries("libcuda.so.*.*") == [f"{root}/opt/nv/libcuda.so.550.1"]
    assert installed.libraries("libcuda.so.1") == [f"{root}/opt/nv/libcuda.so.550.1"]
    assert installed.libraries("lib*.so.550.1") == [f"{root}/opt/nv/libcuda.so.550.1"]
    assert installed.libraries("libgone.so.*") == []


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        pytest.param(trees.DRIVER, "550.54.15", id="libcuda"),
        pytest.param({"lib64/libcuda.so.535.104": ""}, "535.104", id="two parts"),
        pytest.param({"libcuda.so.550.54.15": ""}, "550.54.15", id="in the root itself"),
        pytest.param({"usr/lib64/libnvidia-ml.so.545.23.06": ""}, "545.23.06", id="only NVML"),
        pytest.param(
            {"lib64/libcuda.so.535.1": "", "lib64/libcuda.so.550.1": ""}, "535.1", id="the first"
        ),
        pytest.param(
            {"lib64/libcuda.so.1.1": "-> libcuda.so.550.1", "lib64/libcuda.so.550.1": ""},
            "550.1",
            id="of the file, not of its link",
        ),
        pytest.param({"lib64/libcuda.so.550.1.bak": ""}, "", id="a copy"),
        pytest.param({"lib64/libcuda.so.1.1": ""}, "", id="Tegra"),
        pytest.param(
            {"lib64/libcuda.so.1.1": "", "lib64/libnvidia-ml.so.580.00": ""},
            "580.00",
            id="Tegra with a card",
        ),
        pytest.param({"lib64/libcuda.so.999": ""}, "", id="one part"),
        pytest.param({}, "", id="no driver"),
    ],
)
def test_version(tree: dict[str, str], expected: str, tmp_path: Path) -> None:
    assert driver.version(Driver(trees.make(tmp_path, tree))) == expected


def test_library_folders_are_those_of_the_version(tmp_path: Path) -> None:
    tree = {"lib64/libcuda.so.550.1": "", "lib64/libnvidia-ml.so.550.1": "", "libx.so.1.1": ""}
    installed = Driver(trees.make(tmp_path, tree))

    assert driver.library_folders(installed, "550.1") == ("/lib64",)


def test_executable_is_the_first_that_can_be_executed(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"opt/nvidia-smi": "", "usr/bin/nvidia-smi": ""})
    (tmp_path / "usr/bin/nvidia-smi").chmod(0o755)
    installed = Driver(root, path="relative:/opt")

    assert installed.executable("nvidia-smi") == f"{root}/usr/bin/nvidia-smi"
    assert installed.executable("nvidia-imex") == ""


@pytest.mark.parametrize(
    ("data_dirs", "expected"),
    [
        ("", "/usr/local/share/x.json"),
        ("/opt/share/:/usr/share", "/opt/share/x.json"),
        ("relative", "/usr/local/share/x.json"),
    ],
)
def test_config_is_found_by_xdg(data_dirs: str, expected: str, tmp_path: Path) -> None:
    names = ("usr/share/x.json", "usr/local/share/x.json", "opt/share/x.json")
    root = trees.make(tmp_path, {"etc/x.json/": "", **dict.fromkeys(names, "")})

    assert Driver(root, data_dirs=data_dirs).config("x.json") == root + expected


def test_config_of_etc_goes_first(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"etc/x.json": "", "usr/share/x.json": ""})

    assert Driver(root).config("x.json") == f"{root}/etc/x.json"
    assert Driver(root).config("y.json") == ""


def test_configuration_only_in_the_folders_that_are_named(tmp_path: Path) -> None:
    """They are this host's, wherever the driver root is."""
    root = trees.make(tmp_path, {"driver/etc/x.json": "", "conf/x.json": "", "conf/y/": ""})
    installed = Driver(f"{root}/driver", config_folders=(f"{root}/conf",))

    assert installed.config("x.json") == f"{root}/conf/x.json"
    assert installed.config("y") == ""


def test_a_folder_that_is_a_link_to_another_is_listed_once(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"usr/lib64/libx.so.1": "", "lib64": "-> usr/lib64"})
    installed = Driver(root)

    assert installed.libraries("libx.so.1") == [f"{root}/usr/lib64/libx.so.1"]
    assert f"{root}/lib64" in installed.library_places()


def test_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    """What is in it would be missing in every container, and kept so."""
    root = trees.make(tmp_path, {**trees.DRIVER, "usr/lib64": f"-> {'x' * 300}"})

    with pytest.raises(NvidiaRuntimeError) as error:
        Driver(root).libraries("libcuda.so.*")

    assert str(error.value) == f"{root}/usr/lib64: cannot be read: file name too long"


def test_cache_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"etc/ld.so.cache/": ""})

    with pytest.raises(NvidiaRuntimeError) as error:
        Driver(root).libraries("libcuda.so.*")

    assert str(error.value) == f"{root}/etc/ld.so.cache: cannot be read: is a directory"


def test_library_that_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    root = trees.make(tmp_path, {"lib64/libcuda.so.1": f"-> {'x' * 300}"})

    with pytest.raises(NvidiaRuntimeError) as error:
        Driver(root).libraries("libcuda.so.*")

    assert str(error.value) == f"{root}/lib64/libcuda.so.1: cannot be read: file name too long"
