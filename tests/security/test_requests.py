# SPDX-License-Identifier: Apache-2.0
"""T19 to T21: what containers may write in a request, and what of it may get into a path."""

from __future__ import annotations

import itertools
import re
from typing import Any

import builders
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvidia_runtime.admission import policy, request
from nvidia_runtime.cdi import names
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import imex

ENVVAR = "accept-nvidia-visible-devices-envvar-when-unprivileged"
MOUNTS = "accept-nvidia-visible-devices-as-volume-mounts"
ADMIN = {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}
ODD = [
    *("../../../etc", "/etc/passwd", "..", ".", "", " ", "-1", "+1", "0x10", "010", "1e3", "1_0"),
    *("\0", "0\0", "0\n", "\n0", "٣", "１", "²", "1048576", "99999999999999999999", "0/../1"),
    *("channel0", "0;rm", "$(id)", "`id`", "%00", "..%2f", "a" * 100_000, "💥", "\ud800"),
]


def asking(source: str, *, privileged: bool) -> dict[str, Any]:
    document = builders.spec()
    if privileged:
        document["process"].update(ADMIN)
    if source == "environment":
        document["process"]["env"].append("NVIDIA_VISIBLE_DEVICES=0")
    elif source == "volume mounts":
        target = "/var/run/nvidia-container-devices/0"
        document["mounts"] = [{"source": "/dev/null", "destination": target}]
    else:
        document["annotations"] = {"cdi.k8s.io/x": "nvidia.com/gpu=0"}
    return document


@pytest.mark.parametrize("source", ["environment", "volume mounts", "annotations"])
@pytest.mark.parametrize(
    ("privileged", "by_env", "by_mount"), [*itertools.product([True, False], repeat=3)]
)
def test_t19_who_may_ask(source: str, privileged: bool, by_env: bool, by_mount: bool) -> None:
    """Only the environment can be an image's; each way has a setting of its own, which is named."""
    settings = {**config.defaults(), ENVVAR: by_env, MOUNTS: by_mount}
    asked = request.read(asking(source, privileged=privileged), settings, "config.json")

    admitted = policy.admit(asked, settings, "cdi")

    allowed = {"environment": privileged or by_env, "volume mounts": by_mount, "annotations": True}
    assert bool(admitted.devices) == allowed[source]
    if source == "environment" and not admitted.devices:
        assert ENVVAR in admitted.refusals[0]


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text)[:20])
def test_t20_channels_are_numbers(text: str) -> None:
    """A channel's number becomes a part of a path in /dev."""
    document = builders.asking("0")
    document["process"]["env"].append(f"NVIDIA_IMEX_CHANNELS={text}")
    settings = config.defaults()
    admitted = policy.admit(request.read(document, settings, "c"), settings, "legacy")

    assert all(re.fullmatch(r"[0-9]{1,7}", channel) for channel in admitted.imex)
    assert all(int(channel) < 1 << 20 for channel in admitted.imex)


@pytest.mark.parametrize(
    "text",
    [text for text in ODD if not text.startswith("channel")],
    ids=lambda text: repr(text)[:20],
)
def test_t20_channels_of_a_spec_are_numbers(text: str) -> None:
    if text.isascii() and text.isdigit() and text == str(int(text)) and int(text) < 1 << 20:
        return
    with pytest.raises(NvidiaRuntimeError):
        imex.number_of(text)


@given(text=st.text(max_size=40))
@settings(max_examples=500, deadline=None)
def test_t20_qualified_names_have_no_slash_behind_the_kind(text: str) -> None:
    for name in (text, f"nvidia.com/gpu={text}"):
        if names.is_qualified(name):
            kind, _, device = name.partition("=")
            assert kind.count("/") == 1
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]*", device)
            assert not device.startswith((".", "-"))
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z][A-Za-z0-9_.-]*", kind)


@given(target=st.text(max_size=60), source=st.sampled_from(["/dev/null", "/dev/./null", "/etc"]))
@settings(max_examples=500, deadline=None)
def test_t21_mounts_ask_for_what_they_name(target: str, source: str) -> None:
    root = "/var/run/nvidia-container-devices"
    document = builders.spec()
    document["mounts"] = [{"source": source, "destination": f"{root}/{target}"}]
    settings = {**config.defaults(), MOUNTS: True}

    asked = request.read(document, settings, "config.json")

    for name in asked.by_mount or ():
        assert source != "/etc"
        assert ".." not in name.split("/")
        assert not name.startswith("/")
    admitted = policy.admit(asked, settings, "legacy")
    assert all(re.fullmatch(r"[0-9]{1,7}", channel) for channel in admitted.imex)


@pytest.mark.parametrize("mode", ["legacy", "csv", "cdi", "jit-cdi"])
def test_t20_channels_without_end_are_refused(mode: str) -> None:
    document = builders.asking("0")
    document["process"]["env"].append(f"NVIDIA_IMEX_CHANNELS={','.join(map(str, range(20_481)))}")
    settings = config.defaults()

    with pytest.raises(
        NvidiaRuntimeError, match="asks for 20481 IMEX channels, the limit is 20480"
    ):
        policy.admit(request.read(document, settings, "c"), settings, mode)


@pytest.mark.parametrize("mode", ["legacy", "csv"])
def test_t20_what_is_no_channel_is_named_but_not_endlessly(mode: str) -> None:
    document = builders.asking("0")
    names = ",".join(f"x{number}" for number in range(10_000))
    document["process"]["env"].append(f"NVIDIA_IMEX_CHANNELS=3,{names},{'y' * 1000}")
    settings = config.defaults()

    admitted = policy.admit(request.read(document, settings, "c"), settings, mode)

    assert admitted.imex == ("3",)
    assert admitted.refusals == [
        "ignoring IMEX channels 'x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7' and 9993 more: "
        "each is a number from 0 to 1048575"
    ]
