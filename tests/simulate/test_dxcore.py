# SPDX-License-Identifier: Apache-2.0
"""The simulated libdxcore of WSL says where the driver of Windows is."""

from __future__ import annotations

import ctypes
from pathlib import Path

import simulated

from nvidia_runtime.host import dxcore
from nvidia_runtime.simulate import catalogue, wsl_files
from nvidia_runtime.simulate.tree import File

LIBRARY = "/usr/lib/wsl/lib/libdxcore.so"


def test_driver_is_where_it_says(tmp_path: Path) -> None:
    simulated.need_nvml()
    files = wsl_files.tree(catalogue.find("wsl2"), b"")
    library = files[LIBRARY]
    assert isinstance(library, File)
    (tmp_path / "libdxcore.so").write_bytes(library.data)

    (store,) = dxcore.driver_stores(f"{tmp_path}/libdxcore.so", 10)

    assert f"{store}/libcuda.so.1.1" in files


def test_each_adapter_has_its_driver(tmp_path: Path) -> None:
    simulated.need_nvml()
    machine = catalogue.find("wsl2x2")
    library = wsl_files.tree(machine, b"")[LIBRARY]
    assert isinstance(library, File)
    (tmp_path / "libdxcore.so").write_bytes(library.data)

    assert dxcore.driver_stores(f"{tmp_path}/libdxcore.so", 10) == wsl_files.stores(machine)


def test_too_little_room_is_said(tmp_path: Path) -> None:
    simulated.need_nvml()
    library = wsl_files.tree(catalogue.find("wsl2"), b"")[LIBRARY]
    assert isinstance(library, File)
    (tmp_path / "libdxcore.so").write_bytes(library.data)
    asked = dxcore.RegistryQuery(type=dxcore.DRIVER_STORE_PATH)
    query = dxcore.Query(
        handle=0x40000000,
        type=dxcore.QUERY_REGISTRY,
        data=ctypes.addressof(asked),
        size=ctypes.sizeof(asked),
    )

    result = ctypes.CDLL(f"{tmp_path}/libdxcore.so").D3DKMTQueryAdapterInfo(ctypes.byref(query))

    assert (result, asked.status, asked.size) == (
        0,
        1,
        4 * len(wsl_files.stores(catalogue.find("wsl2"))[0]),
    )
