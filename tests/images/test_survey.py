# SPDX-License-Identifier: Apache-2.0
"""What matters to a driver among an image's files."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rootfs import images as libraries

from nvidia_runtime.images import survey, tar_layers
from nvidia_runtime.images.survey import GLIBC, MUSL, NONE, Libc
from nvidia_runtime.images.tar_layers import Budget, TarLayer
from nvidia_runtime.images.tree import Tree
from nvidia_runtime.rootfs import cuda_compat

from . import written
from .written import Files

FOLDER = "/usr/lib/x86_64-linux-gnu"


def tree(files: Files) -> Tree:
    return Tree([TarLayer(io.BytesIO(written.layer(files)), Budget())])


DEBIAN = {"usr/bin/dash": written.program(written.GLIBC), "bin": "-> usr/bin"}
LIBCS: dict[str, tuple[Any, Libc]] = {
    "debian": (
        {**DEBIAN, "usr/bin/sh": "-> dash", "usr/lib64/ld-linux-x86-64.so.2": "x"},
        Libc(GLIBC, written.GLIBC),
    ),
    "alpine": (
        {
            "bin/busybox": written.program(written.MUSL),
            "bin/sh": "-> /bin/busybox",
            "lib/ld-musl-x86_64.so.1": "x",
        },
        Libc(MUSL, written.MUSL),
    ),
    "alpine with gcompat": (
        {
            "bin/sh": written.program(written.MUSL),
            "lib/ld-musl-x86_64.so.1": "x",
            "lib64/ld-linux-x86-64.so.2": "-> ../lib/libgcompat.so.0",
        },
        Libc(MUSL, written.MUSL, (GLIBC,)),
    ),
    "distroless": (
        {"lib": "-> usr/lib", "usr/lib/ld-linux-aarch64.so.1": "x"},
        Libc(GLIBC, "/lib/ld-linux-aarch64.so.1"),
    ),
    "a static shell beside a loader": (
        {"bin/sh": written.program(), "lib/ld-musl-x86_64.so.1": "x"},
        Libc(MUSL, written.MUSL),
    ),
    "both loaders, and no shell": (
        {"lib/ld-musl-x86_64.so.1": "x", "usr/lib64/ld-linux-x86-64.so.2": "x"},
        Libc(GLIBC, "/usr/lib64/ld-linux-x86-64.so.2", (MUSL,)),
    ),
    "only static": ({"bin/sh": written.program()}, Libc(NONE)),
    "a shell that is a script": ({"bin/sh": "#!/x"}, Libc(NONE)),
    "scratch": ({"app": "x"}, Libc(NONE)),
    "a shell that leads out": ({"bin/sh": "-> ../../../../../../bin/sh"}, Libc(NONE)),
}


@pytest.mark.parametrize("name", LIBCS)
def test_libc(name: str) -> None:
    files, libc = LIBCS[name]

    assert survey.libc(tree(files)) == libc


MOUNTED = [f"{FOLDER}/libcuda.so.580.95.05", "/usr/bin/nvidia-smi"]
BAKED: dict[str, tuple[Any, list[tuple[str, str, bool]]]] = {
    "nothing": ({f"{FOLDER}/libc.so.6": "x"}, []),
    "what a build leaves": (
        {
            f"{FOLDER}/libcuda.so.580.95.05": "",
            f"{FOLDER}/libcuda.so.1": "",
            "usr/bin/nvidia-smi": "",
        },
        [
            (f"{FOLDER}/libcuda.so.1", "empty", True),
            (f"{FOLDER}/libcuda.so.580.95.05", "empty", True),
            ("/usr/bin/nvidia-smi", "empty", True),
        ],
    ),
    "of a driver of another machine": (
        {
            f"{FOLDER}/libcuda.so.550.54.14": "x",
            f"{FOLDER}/libcuda.so.1": "-> libcuda.so.550.54.14",
        },
        [(f"{FOLDER}/libcuda.so.550.54.14", "of driver 550.54.14", False)],
    ),
    "empty, of another machine": (
        {f"{FOLDER}/libcuda.so.550.54.14": "", f"{FOLDER}/libnvidia-ml.so.1": ""},
        [
            (f"{FOLDER}/libcuda.so.550.54.14", "empty", False),
            (f"{FOLDER}/libnvidia-ml.so.1", "empty", False),
        ],
    ),
    "a link to nothing": (
        {f"{FOLDER}/libnvidia-ml.so.1": "-> libnvidia-ml.so.550.54.14"},
        [(f"{FOLDER}/libnvidia-ml.so.1", "a link to nothing", False)],
    ),
    "in a folder that is a link": (
        {"lib": "-> usr/lib", "usr/lib/libcuda.so.1": ""},
        [("/usr/lib/libcuda.so.1", "empty", False)],
    ),
    "of the toolkit, for linking, in place of a file": (
        {
            f"{FOLDER}/libnvidia-container.so.1": "x",
            "usr/local/cuda/lib64/stubs/libcuda.so": "x",
            f"{FOLDER}/libcuda.so.1/": "",
        },
        [(f"{FOLDER}/libcuda.so.1", "a folder", False)],
    ),
    "where LD_LIBRARY_PATH leads": (
        {"opt/nvidia/libcuda.so.1": "x"},
        [("/opt/nvidia/libcuda.so.1", "a file", False)],
    ),
}


@pytest.mark.parametrize("name", BAKED)
def test_baked(name: str) -> None:
    files, expected = BAKED[name]
    path = ["/opt/nvidia", "/usr/local/cuda/lib64/stubs"]

    baked = survey.baked(tree(files), path, MOUNTED)

    assert [(one.path, one.what, one.is_hidden) for one in baked] == expected


NOTE = libraries.compatible(b'{"CUDA Version": "13.1", "Driver": [580]}')
COMPAT: dict[str, tuple[Any, bool | None, str]] = {
    "none": ({"a": ""}, None, ""),
    "newer": ({"libcuda.so.590.1.1": b"x"}, True, "libcuda 590.1.1 against driver 580.95.05"),
    "older": ({"libcuda.so.550.1.1": b"x"}, False, "libcuda 550.1.1 against driver 580.95.05"),
    "that says itself so": ({"libcuda.so.580.99.01": NOTE, "libcuda.so.1": "-> x"}, True, ""),
    "two": ({"libcuda.so.590.1": b"x", "libcuda.so.591.1": b"x"}, False, "has 2 files"),
    "a link": ({"libcuda.so.590.1.1": "-> /etc/passwd"}, False, "has 0 files"),
}


@pytest.mark.parametrize("name", COMPAT)
def test_compat(name: str) -> None:
    files, is_used, says = COMPAT[name]
    below = {f"usr/local/cuda-13/compat/{file}": text for file, text in files.items()}
    image = tree({**below, "usr/local/cuda": "-> cuda-13"} if is_used is not None else {})

    compat = survey.compat(image, cuda_compat.FOLDER, "580.95.05", "")

    assert (compat and bool(compat.folder)) == is_used
    assert says in (compat.reason if compat else "")


def test_library_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hostile image: what it says of itself is not known, nor is the disk full."""
    monkeypatch.setattr(tar_layers, "LARGEST_LIBRARY", 10)

    compat = survey.compat(
        tree({"usr/local/cuda/compat/libcuda.so.590.1": NOTE}), cuda_compat.FOLDER, "580.1", ""
    )

    assert compat is not None
    assert not compat.folder
