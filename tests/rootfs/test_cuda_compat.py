# SPDX-License-Identifier: Apache-2.0
"""CUDA's compatibility libraries: used where they fit, and looked for in the image alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nvidia_runtime.rootfs import cuda_compat, resolver

from . import images

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "usr/local/cuda/compat"
LIBRARY = f"{FOLDER}/libcuda.so.560.35.03"
PLAIN = images.library("libcuda.so.1")


def note(*majors: int, cuda: str = "12.6") -> bytes:
    text = f'{{"Format": 1, "CUDA Version": "{cuda}", "Driver": {list(majors)}, "Device": [1]}}'
    return images.compatible(text.encode())


def decided(tmp_path: Path, tree: dict[str, str | bytes], *versions: str) -> str:
    images.make(tmp_path / "image", tree)
    with resolver.open_root(f"{tmp_path}/image") as root:
        return cuda_compat.decide(root, *versions).folder


@pytest.mark.parametrize(
    ("library", "driver", "cuda", "is_used"),
    [
        pytest.param(PLAIN, "550.54.15", "", True, id="newer major"),
        pytest.param(PLAIN, "560.28.03", "", False, id="same major"),
        pytest.param(PLAIN, "570.1", "", False, id="older major"),
        pytest.param(PLAIN, "abc", "", False, id="no version"),
        pytest.param(PLAIN, "", "12.0", False, id="cuda without a note"),
        pytest.param(note(535, 550), "550.54.15", "", True, id="note names the driver"),
        pytest.param(note(535), "550.54.15", "", False, id="note names others"),
        pytest.param(note(560), "560.1.1", "", True, id="note, same major, newer"),
        pytest.param(note(560), "560.99.1", "", False, id="note, same major, older"),
        pytest.param(note(550), "", "12.4", True, id="note, newer cuda"),
        pytest.param(note(550), "", "12.6", False, id="note, same cuda"),
        pytest.param(note(550, cuda="x"), "", "12.4", False, id="note without a version"),
        pytest.param(images.compatible(b"[" * 60000), "550.1", "", True, id="note is no JSON"),
        pytest.param(b"not ELF", "550.54.15", "", True, id="unreadable: the name decides"),
    ],
)
def test_decision(library: bytes, driver: str, cuda: str, is_used: bool, tmp_path: Path) -> None:
    folder = decided(tmp_path, {LIBRARY: library}, driver, cuda)

    assert folder == (f"/{FOLDER}" if is_used else "")


@pytest.mark.parametrize(
    ("tree", "folder"),
    [
        pytest.param(
            {"usr/local/cuda": "-> cuda-12", "usr/local/cuda-12/compat/libcuda.so.560.1": PLAIN},
            "/usr/local/cuda-12/compat",
            id="through a link",
        ),
        pytest.param(
            {
                "usr/local/cuda": "-> /etc/alternatives/cuda",
                "etc/alternatives/cuda": "-> /opt/cuda",
                "opt/cuda/compat/libcuda.so.560.1": PLAIN,
            },
            "/opt/cuda/compat",
            id="through alternatives",
        ),
        pytest.param({}, "", id="no folder"),
        pytest.param({FOLDER: "x"}, "", id="a file in its place"),
        pytest.param({LIBRARY: PLAIN, f"{FOLDER}/libcuda.so.1.1": PLAIN}, "", id="two libraries"),
        pytest.param({LIBRARY: "-> /outside/libcuda.so.560.1"}, "", id="link (CVE-2024-0132)"),
        pytest.param({"usr/local/cuda": "-> ../../../outside"}, "", id="folder out of the image"),
        pytest.param({f"{LIBRARY}/": ""}, "", id="a folder by its name"),
    ],
)
def test_place(tree: dict[str, str | bytes], folder: str, tmp_path: Path) -> None:
    images.make(tmp_path / "outside/compat", {"libcuda.so.560.1": PLAIN})

    assert decided(tmp_path, tree, "550.1") == folder


def test_fifo_is_not_waited_for(tmp_path: Path) -> None:
    images.make(tmp_path / "image", {f"{FOLDER}/": ""})
    os.mkfifo(tmp_path / "image" / LIBRARY)

    assert decided(tmp_path, {}, "550.1") == ""
