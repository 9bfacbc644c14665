# SPDX-License-Identifier: Apache-2.0
"""The links that belong beside a library in a container."""

from __future__ import annotations

from pathlib import Path

import pytest
from host import trees

from nvidia_runtime.generate import library_links
from nvidia_runtime.simulate import elf

V = "580.95.05"


@pytest.mark.parametrize(
    ("name", "soname", "beside", "expected"),
    [
        pytest.param(
            f"libx.so.{V}", "libx.so.1", {"libx.so.1"}, {"libx.so.1": f"libx.so.{V}"}, id="SONAME"
        ),
        pytest.param(f"libx.so.{V}", "libx.so.1", set(), {}, id="which the host lacks"),
        pytest.param(
            f"libx.so.{V}",
            "libx.so.1",
            {"libx.so.1", "libx.so"},
            {"libx.so.1": f"libx.so.{V}", "libx.so": "libx.so.1"},
            id="and one without a version",
        ),
        pytest.param(f"libx.so.{V}", f"libx.so.{V}", {"libx.so.1"}, {}, id="its own name"),
        pytest.param(f"libx.so.{V}", "", {"libx.so.1"}, {}, id="no SONAME"),
        pytest.param("libx.so", "libx.so.1", {"libx.so.1"}, {}, id="no version in the name"),
        pytest.param(
            f"libcuda.so.{V}", "libcuda.so.1", set(), {"libcuda.so": "libcuda.so.1"}, id="libcuda"
        ),
        pytest.param(
            f"libGLX_nvidia.so.{V}",
            "libGLX_nvidia.so.0",
            {"libGLX_nvidia.so.0"},
            {
                "libGLX_indirect.so.0": f"libGLX_nvidia.so.{V}",
                "libGLX_nvidia.so.0": f"libGLX_nvidia.so.{V}",
            },
            id="libGLX_nvidia",
        ),
    ],
)
def test_links(
    name: str, soname: str, beside: set[str], expected: dict[str, str], tmp_path: Path
) -> None:
    trees.make(tmp_path, {f"lib/{link}": f"-> {name}" for link in beside})
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib" / name).write_bytes(elf.shared_object(soname, "x86_64"))

    links = library_links.beside(f"{tmp_path}/lib/{name}", f"/usr/lib/{name}")

    assert dict(links) == {f"/usr/lib/{link}": target for link, target in expected.items()}


def test_no_library(tmp_path: Path) -> None:
    (tmp_path / f"libx.so.{V}").write_text("text")

    with pytest.raises(ValueError, match="is not a shared library"):
        library_links.beside(f"{tmp_path}/libx.so.{V}", f"/libx.so.{V}")


def test_a_file_that_is_gone_has_no_soname(tmp_path: Path) -> None:
    assert library_links.beside(f"{tmp_path}/libx.so.{V}", f"/libx.so.{V}") == []
