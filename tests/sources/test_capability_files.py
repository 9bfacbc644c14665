# SPDX-License-Identifier: Apache-2.0
"""What a container gets of the driver where the setting is "requested"."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nvidia_runtime.compile import config
from nvidia_runtime.sources import capability_files
from nvidia_runtime.store.lines import Source

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
FILES = [
    f"{LIBRARIES}/libcuda.so.580.95.05",
    f"{LIBRARIES}/libnvidia-ml.so.580.95.05",
    f"{LIBRARIES}/libnvcuvid.so.580.95.05",
    f"{LIBRARIES}/libEGL_nvidia.so.580.95.05",
    f"{LIBRARIES}/libnvidia-ngx.so.580.95.05",
    f"{LIBRARIES}/libnvidia-unheard-of.so.580.95.05",
    "/usr/bin/nvidia-smi",
    "/usr/bin/nvidia-xconfig",
    "/usr/share/nvidia/nvoptix.bin",
    "/lib/firmware/nvidia/580.95.05/gsp_tu10x.bin",
]
ALWAYS = ["libnvidia-unheard-of.so.580.95.05", "gsp_tu10x.bin"]


def hook(*links: str) -> dict[str, Any]:
    """Return a hook that makes links."""
    words = [word for link in links for word in ("--link", link)]
    return {"path": "/x", "args": ["nvidia-cdi-hook", "create-symlinks", *words]}


def limit(edits: dict[str, Any], **environment: str) -> dict[str, Any]:
    source = Source("", '{"generator":"auto"}', json.dumps(edits))
    (limited,) = capability_files.limit([source], environment, config.defaults())
    assert json.loads(limited.text) == limited.edits
    return limited.edits


@pytest.mark.parametrize(
    ("wanted", "files"),
    [
        (None, ["libcuda.so.580.95.05", "libnvidia-ml.so.580.95.05", "nvidia-smi"]),
        ("", ["libcuda.so.580.95.05", "libnvidia-ml.so.580.95.05", "nvidia-smi"]),
        ("utility", ["libnvidia-ml.so.580.95.05", "nvidia-smi"]),
        ("compute", ["libcuda.so.580.95.05"]),
        ("video,utility", ["libnvcuvid.so.580.95.05", "libnvidia-ml.so.580.95.05", "nvidia-smi"]),
        ("graphics", ["libEGL_nvidia.so.580.95.05", "nvoptix.bin"]),
        ("display", ["libEGL_nvidia.so.580.95.05", "nvoptix.bin", "nvidia-xconfig"]),
        ("ngx", ["libnvidia-ngx.so.580.95.05"]),
        ("all", [path.rpartition("/")[2] for path in FILES]),
    ],
)
def test_files(wanted: str | None, files: list[str]) -> None:
    environment = {} if wanted is None else {"NVIDIA_DRIVER_CAPABILITIES": wanted}

    left = limit({"mounts": [{"source": path} for path in FILES]}, **environment)

    names = {mount["source"].rpartition("/")[2] for mount in left["mounts"]}
    assert names == {*files, *ALWAYS}


def test_image_of_before_the_variable_gets_all() -> None:
    left = limit({"mounts": [{"source": path} for path in FILES]}, CUDA_VERSION="8.0")

    assert len(left["mounts"]) == len(FILES)


def test_links_to_what_is_left_out_go_too() -> None:
    kept = f"libcuda.so.1::{LIBRARIES}/libcuda.so"
    edits = {
        "hooks": {
            "createContainer": [
                hook(kept, f"libnvcuvid.so.580.95.05::{LIBRARIES}/libnvcuvid.so.1"),
                hook(f"../libnvidia-allocator.so.1::{LIBRARIES}/gbm/nvidia-drm_gbm.so"),
                hook(f"libglxserver_nvidia.so.580.95.05::{LIBRARIES}/libglxserver_nvidia.so"),
                {"path": "/x", "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/a"]},
            ]
        }
    }

    left = limit(edits, NVIDIA_DRIVER_CAPABILITIES="compute")

    assert left["hooks"]["createContainer"] == [
        hook(kept),
        hook(f"../libnvidia-allocator.so.1::{LIBRARIES}/gbm/nvidia-drm_gbm.so"),
        {"path": "/x", "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/a"]},
    ]
