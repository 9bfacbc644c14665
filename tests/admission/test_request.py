# SPDX-License-Identifier: Apache-2.0
"""What a container asks for, as written."""

from __future__ import annotations

from typing import Any

import pytest
from builders import Document, asking, spec

from nvidia_runtime.admission import mounts as mounts_of_devices
from nvidia_runtime.admission import request
from nvidia_runtime.admission.request import Request
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError

PATH = "/b/config.json"
MOUNTS = "accept-nvidia-visible-devices-as-volume-mounts"


def read(document: Document, **settings: Any) -> Request:
    values = {**config.defaults(), **{key.replace("_", "-"): settings[key] for key in settings}}
    return request.read(document, values, PATH)


def by_mounts(*targets: str, source: str = "/dev/null") -> Request:
    """Read the request of a container with mounts of /dev/null."""
    mounts = [{"source": source, "destination": target} for target in targets]
    document = spec(mounts=mounts)
    return read(document, accept_nvidia_visible_devices_as_volume_mounts=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        (" 0 , 1,,", ("0", "1")),
        ("0,0,1,0", ("0", "1")),
        ("all", ("all",)),
        ("0,all,none", ("all",)),
        ("none,all", ("none",)),
        ("none", ("none",)),
        ("", ()),
        (",", ()),
        ("void", ()),
        ("all,void", ()),
        ("All", ("All",)),
        ("GPU-1,nvidia.com/gpu=0", ("GPU-1", "nvidia.com/gpu=0")),
        ("0:1", ("0:1",)),
    ],
)
def test_visible_devices(value: str, expected: tuple[str, ...]) -> None:
    assert read(asking(value)).by_env == expected


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"process": None},
        {"process": {}},
        {"process": {"env": None}},
        {"process": {"env": []}},
        spec("NVIDIA_VISIBLE_DEVICES"),
        spec("nvidia_visible_devices=0"),
        spec("NVIDIA_VISIBLE_DEVICES =0"),
    ],
)
def test_container_that_says_nothing(document: Document) -> None:
    assert read(document).by_env is None


def test_last_entry_counts() -> None:
    document = spec(
        "NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES=1", "NVIDIA_VISIBLE_DEVICES"
    )

    assert read(document).by_env == ("1",)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (["CUDA_VERSION=8.0"], ("all",)),
        (["CUDA_VERSION=8.0", "NVIDIA_REQUIRE_CUDA=cuda>=8"], None),
        (["CUDA_VERSION=8.0", "NVIDIA_REQUIRE_CUDA="], ("all",)),
        (["CUDA_VERSION="], None),
        (["CUDA_VERSION=8.0", "NVIDIA_VISIBLE_DEVICES="], ()),
        (["CUDA_VERSION=8.0", "NVIDIA_VISIBLE_DEVICES=1"], ("1",)),
        (["CUDA_VERSIONS=8.0"], None),
    ],
)
def test_legacy_image_asks_for_all(env: list[str], expected: tuple[str, ...] | None) -> None:
    assert read(spec(*env)).by_env == expected


@pytest.mark.parametrize(
    ("setting", "env", "expected"),
    [
        ("GPU", ["GPU=1"], ("1",)),
        ("GPU", ["GPU=1", "NVIDIA_VISIBLE_DEVICES=0"], ("1",)),
        ("GPU", ["GPU=", "NVIDIA_VISIBLE_DEVICES=0"], ()),
        ("GPU", ["NVIDIA_VISIBLE_DEVICES=0"], ("0",)),
        (" GPU , MIG,", ["MIG=2", "GPU=1"], ("1", "2")),
        ("GPU,MIG", ["MIG=2", "GPU=void"], ()),
        ("GPU", ["CUDA_VERSION=8.0"], ("all",)),
        (",", ["GPU=1", "NVIDIA_VISIBLE_DEVICES=0"], ("0",)),
    ],
)
def test_swarm_resources(setting: str, env: list[str], expected: tuple[str, ...]) -> None:
    assert read(spec(*env), swarm_resource=setting).by_env == expected


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (None, None),
        ({}, None),
        ({"cdi.k8s.io/a": "nvidia.com/gpu=0"}, ("nvidia.com/gpu=0",)),
        ({"cdi.k8s.io/b": "x", "cdi.k8s.io/a": "y,z", "other": "w"}, ("y", "z", "x")),
        ({"cdi.k8s.io/a": "x, y,"}, ("x", " y", "")),
        ({"cdi.k8s.io/a": "x,x"}, ("x",)),
        ({"cdi.k8s.io": "x"}, None),
        ({"other": 5}, None),
    ],
)
def test_annotations(annotations: object, expected: tuple[str, ...] | None) -> None:
    assert read(spec(annotations=annotations)).by_annotation == expected


def test_annotation_prefixes_are_a_setting() -> None:
    prefixes = {request.ANNOTATION_PREFIXES: ["a/", "b/"]}

    assert read(
        spec(annotations={"a/x": "1", "b/x": "2", "c/x": "3"}), **prefixes
    ).by_annotation == (
        "1",
        "2",
    )
    none: dict[str, list[str]] = {request.ANNOTATION_PREFIXES: []}
    assert read(spec(annotations={"a/x": "1"}), **none).by_annotation is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ("0",)),
        ("0, 1,0", ("0", "1")),
        ("all", ()),
        ("0,all", ("0", "all")),
        ("none", ()),
        ("0,none", ()),
        ("void", ()),
        ("", ()),
    ],
)
def test_imex_channels(value: str, expected: tuple[str, ...]) -> None:
    assert read(spec(f"NVIDIA_IMEX_CHANNELS={value}")).imex_by_env == expected


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ([], ()),
        (["NVIDIA_GDS=enabled"], ("gds",)),
        (["NVIDIA_NVSWITCH=enabled", "NVIDIA_MOFED=enabled"], ("mofed", "nvswitch")),
        (["NVIDIA_GDRCOPY=true", "NVIDIA_GDS=Enabled", "NVIDIA_MOFED= enabled"], ()),
    ],
)
def test_gates(env: list[str], expected: tuple[str, ...]) -> None:
    assert read(spec(*env)).gates == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (None, False),
        ({}, False),
        ({"bounding": None}, False),
        ({"bounding": ["CAP_CHOWN"]}, False),
        ({"bounding": ["CAP_SYS_ADMIN"]}, True),
        ({"effective": ["CAP_SYS_ADMIN"]}, False),
        (["CAP_SYS_ADMIN"], True),
        ([], False),
    ],
)
def test_privileged(capabilities: object, expected: bool) -> None:
    document = asking()
    document["process"]["capabilities"] = capabilities

    assert read(document).privileged is expected


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"process": []}, "process: must be an object, not a list"),
        ({"process": {"env": "x"}}, "process.env: must be a list, not a string"),
        (
            {"process": {"env": [5]}},
            "process.env: must be a list of strings, not with a number in it",
        ),
        (spec(annotations=[1]), "annotations: must be an object, not a list"),
        (
            spec(annotations={"cdi.k8s.io/a": ["x"]}),
            "annotations['cdi.k8s.io/a']: must be a string, not a list",
        ),
        (
            {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"], "capabilities": "all"}},
            "process.capabilities: must be an object, not a string",
        ),
        (
            {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=0"], "capabilities": {"bounding": "all"}}},
            "process.capabilities.bounding: must be a list, not a string",
        ),
    ],
)
def test_wrong_type(document: Document, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        read(document)

    assert str(error.value) == f"{PATH}: {says}"


def test_mounts_ask_only_where_the_settings_allow_it() -> None:
    target = "/var/run/nvidia-container-devices/0"
    document = spec(mounts=[{"source": "/dev/null", "destination": target}])

    assert read(document).by_mount is None
    assert read(document, **{MOUNTS: True}).by_mount == ("0",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0"], ("0",)),
        (["1", "0"], ("1", "0")),
        (["0", "0/", "./0"], ("0",)),
        (["all"], ("all",)),
        (["0", "none"], ("none",)),
        (["void"], ("void",)),
        (["GPU-1/2"], ("GPU-1/2",)),
        (["cdi/nvidia.com/gpu=0"], ("nvidia.com/gpu=0",)),
        (["cdi/nvidia.com/gpu/0"], ("nvidia.com/gpu=0",)),
        (["cdi/nvidia.com/gpu/0/1"], ("nvidia.com/gpu=0/1",)),
        (["imex/0"], None),
        ([""], None),
        (["../other"], None),
    ],
)
def test_mounts(names: list[str], expected: tuple[str, ...] | None) -> None:
    devices = by_mounts(*[f"/var/run/nvidia-container-devices/{name}" for name in names])

    assert devices.by_mount == expected
    assert devices.invalid_mounts == ()


def test_prefix_of_mounts_is_that_of_the_text() -> None:
    assert by_mounts("/var/run/nvidia-container-devicesX/0").by_mount == ("X/0",)


def test_mount_that_names_no_device() -> None:
    devices = by_mounts("/var/run/nvidia-container-devices/cdi/x")

    assert (devices.by_mount, devices.invalid_mounts) == (None, ("cdi/x",))


def test_imex_channels_by_mounts() -> None:
    root = "/var/run/nvidia-container-devices"

    assert by_mounts(f"{root}/imex/1", f"{root}/imex/0", f"{root}/0").imex_by_mount == ("1", "0")


@pytest.mark.parametrize(
    ("source", "expected"),
    [("/dev/null", ("0",)), ("//dev/./null/", ("0",)), ("/dev/zero", None), ("null", None)],
)
def test_source_of_mounts(source: str, expected: tuple[str, ...] | None) -> None:
    assert by_mounts("/var/run/nvidia-container-devices/0", source=source).by_mount == expected


@pytest.mark.parametrize(
    ("mounts", "says"),
    [
        ({}, "mounts: must be a list, not an object"),
        ([{}, "x"], "mounts[1]: must be an object, not a string"),
    ],
)
def test_mounts_of_a_wrong_type(mounts: object, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        mounts_of_devices.read(spec(mounts=mounts), PATH)

    assert str(error.value) == f"{PATH}: {says}"


@pytest.mark.parametrize("mounts", [None, [], [{}], [{"source": 5, "destination": None}]])
def test_mounts_that_ask_for_nothing(mounts: object) -> None:
    assert mounts_of_devices.read(spec(mounts=mounts), PATH) == ([], (), ())


def test_copy_can_be_changed() -> None:
    asked = read(asking("0"))

    asked.copy().by_env = None

    assert asked.by_env == ("0",)
    assert asked.copy().by_env == ("0",)
