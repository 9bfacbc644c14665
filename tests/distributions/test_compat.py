# SPDX-License-Identifier: Apache-2.0
"""CUDA's compatibility libraries of an image, against the driver's, as the loader takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engines.bundles import Bundles

from . import images, sight
from .boxes import box
from .site import Site

FOLDER = "/usr/lib/x86_64-linux-gnu"
COMPAT = "/usr/local/cuda-13.1/compat"
NOTE = json.dumps({"Version": "1.0", "CUDA Version": "13.1", "Driver": [570, 580]})
OTHER = json.dumps({"Version": "1.0", "CUDA Version": "13.1", "Driver": [570]})


@pytest.mark.parametrize(
    ("version", "note", "is_used"),
    [
        pytest.param("590.44.01", "", True, id="newer major, no note"),
        pytest.param("580.99.01", "", False, id="same major, no note"),
        pytest.param("570.10.01", "", False, id="older, no note"),
        pytest.param("590.44.01", NOTE, True, id="newer, for this driver"),
        pytest.param("590.44.01", OTHER, False, id="newer, for other drivers"),
        pytest.param("575.44.01", NOTE, False, id="older, for this driver"),
    ],
)
def test_cudas_compatibility_libraries_come_first_where_they_fit(
    site: Site, runc: Bundles, version: str, note: str, *, is_used: bool
) -> None:
    def leave(root: Path) -> None:
        folder = root / COMPAT.lstrip("/")
        folder.mkdir(parents=True)
        images.libcuda(folder, version, note)
        (folder / "libcuda.so.1").symlink_to(f"libcuda.so.{version}")
        (root / "usr/local/cuda").symlink_to("cuda-13.1")

    driver = f"{FOLDER}/libcuda.so.580.95.05"
    with box(site, runc, runc.runtime, images.get("bookworm"), prepare=leave) as container:
        assert container.hooks() == []
        wanted = f"{COMPAT}/libcuda.so.{version}" if is_used else driver
        assert sight.loaded(container.tell, "libcuda.so.1") == wanted
        said = "used: " if is_used else "not used: "
        assert f"CUDA compatibility libraries {said}" in "\n".join(container.reasons())

        container.tell("ldconfig")

        assert sight.loaded(container.tell, "libcuda.so.1") == wanted
