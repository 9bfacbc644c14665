# SPDX-License-Identifier: Apache-2.0
"""What a container may have of what it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from nvidia_runtime.admission import policy
from nvidia_runtime.admission.request import Request
from nvidia_runtime.compile import config

REFUSED = (
    "ignoring {} of an unprivileged container: "
    "accept-nvidia-visible-devices-envvar-when-unprivileged is false"
)
STRICT = {policy.UNPRIVILEGED: False}


def request(**fields: Any) -> Request:
    asked = Request()
    for name, value in fields.items():
        setattr(asked, name, value)
    return asked


def admit(
    asked: Request, settings: dict[str, bool] | None = None, mode: str = "cdi"
) -> policy.Admitted:
    return policy.admit(asked, {**config.defaults(), **(settings or {})}, mode)


@pytest.mark.parametrize(
    ("fields", "devices", "source"),
    [
        ({}, (), "environment"),
        ({"by_env": ("0",)}, ("0",), "environment"),
        ({"by_env": ()}, (), "environment"),
        ({"by_env": ("0",), "by_mount": ("1",)}, ("1",), "volume mounts"),
        ({"by_env": ("0",), "by_annotation": ("2",)}, ("2",), "annotations"),
        ({"by_mount": ("1",), "by_annotation": ("2",)}, ("2",), "annotations"),
        ({"by_env": (), "by_annotation": ("2",)}, ("2",), "annotations"),
        ({"by_env": ("none",)}, ("none",), "environment"),
    ],
)
def test_first_source_decides(
    fields: dict[str, Any], devices: tuple[str, ...], source: str
) -> None:
    admitted = admit(request(**fields))

    assert (admitted.devices, admitted.source, admitted.refusals) == (devices, source, [])


@pytest.mark.parametrize("mode", ["jit-cdi", "csv", "legacy", "hook"])
def test_annotations_count_in_cdi_mode_only(mode: str) -> None:
    asked = request(by_annotation=("2",), by_env=("0",))

    assert admit(asked, mode=mode).devices == ("0",)


QUALIFIED, OTHER = "nvidia.com/gpu=1", "0"


@pytest.mark.parametrize(
    ("fields", "devices", "mode"),
    [
        ({}, (), "auto"),
        ({"by_env": (OTHER,)}, (OTHER,), "auto"),
        ({"by_env": (QUALIFIED,)}, (QUALIFIED,), "cdi"),
        ({"by_env": (QUALIFIED, OTHER)}, (QUALIFIED, OTHER), "auto"),
        ({"by_mount": (QUALIFIED,), "by_env": (OTHER,)}, (QUALIFIED,), "cdi"),
        ({"by_annotation": (QUALIFIED,), "by_env": (OTHER,)}, (QUALIFIED,), "cdi"),
        ({"by_annotation": (OTHER,), "by_env": (QUALIFIED,)}, (QUALIFIED,), "auto"),
        ({"by_annotation": (OTHER, QUALIFIED)}, (), "auto"),
    ],
)
def test_auto_is_cdi_for_qualified_names(
    fields: dict[str, Any], devices: tuple[str, ...], mode: str
) -> None:
    admitted = admit(request(**fields), mode="auto")

    assert (admitted.devices, admitted.mode) == (devices, mode)


@pytest.mark.parametrize(
    ("fields", "devices", "refusals"),
    [
        ({"by_env": ("0",)}, (), [REFUSED.format("NVIDIA_VISIBLE_DEVICES")]),
        ({"by_env": ()}, (), []),
        ({"by_env": ("0",), "privileged": True}, ("0",), []),
        ({"by_env": ("0",), "by_mount": ("1",)}, ("1",), []),
        ({"by_env": ("0",), "by_annotation": ("2",)}, ("2",), []),
        (
            {"by_mount": ("1",), "imex_by_env": ("0",)},
            ("1",),
            [REFUSED.format("NVIDIA_IMEX_CHANNELS")],
        ),
    ],
)
def test_unprivileged(
    fields: dict[str, Any], devices: tuple[str, ...], refusals: list[str]
) -> None:
    admitted = admit(request(**fields), STRICT)

    assert (admitted.devices, admitted.refusals) == (devices, refusals)


@pytest.mark.parametrize(
    ("fields", "settings", "imex"),
    [
        ({"imex_by_env": ("0",)}, {}, ("0",)),
        ({"imex_by_env": ("0",), "imex_by_mount": ("1",)}, {}, ("1",)),
        ({"imex_by_mount": ("1",)}, STRICT, ("1",)),
        ({"imex_by_env": ("0",), "privileged": True}, STRICT, ("0",)),
        ({}, {policy.IGNORE_IMEX: True}, ()),
    ],
)
def test_imex_channels(
    fields: dict[str, Any], settings: dict[str, bool], imex: tuple[str, ...]
) -> None:
    admitted = admit(request(by_mount=("0",), **fields), settings)

    assert (admitted.imex, admitted.refusals) == (imex, [])


@pytest.mark.parametrize("name", ["-1", "1048576", "x", "", "٣", "0x1", "../0", "1 ", "00000001"])
@pytest.mark.parametrize("source", ["imex_by_env", "imex_by_mount"])
def test_imex_channels_are_numbers_in_range(source: str, name: str) -> None:
    admitted = admit(request(by_env=("0",), **{source: ("0", name, "1048575")}), mode="csv")

    assert admitted.imex == ("0", "1048575")
    assert admitted.refusals == [
        f"ignoring IMEX channels {name!r}: each is a number from 0 to 1048575"
    ]


@pytest.mark.parametrize("source", ["imex_by_env", "imex_by_mount"])
def test_imex_channels_may_be_ignored(source: str) -> None:
    admitted = admit(request(by_env=("0",), **{source: ("0",)}), {policy.IGNORE_IMEX: True})

    assert admitted.imex == ()
    assert admitted.refusals == [
        "ignoring the request for IMEX channels: features.ignore-imex-channel-requests is true"
    ]


def test_without_devices_there_is_nothing_else() -> None:
    admitted = admit(request(by_env=(), imex_by_env=("0",), gates=("gds",)))

    assert (admitted.imex, admitted.gates) == ((), ())


def test_gates_are_admitted_with_devices() -> None:
    assert admit(request(by_env=("0",), gates=("gds", "mofed"))).gates == ("gds", "mofed")


def test_mount_that_names_no_device_is_a_refusal() -> None:
    admitted = admit(request(invalid_mounts=("cdi/x", "cdi/y"), refused=("ignoring that",)))

    assert admitted.refusals == [
        "ignoring that",
        "ignoring the mount request 'cdi/x': it names no CDI device",
        "ignoring the mount request 'cdi/y': it names no CDI device",
    ]
