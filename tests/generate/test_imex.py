# SPDX-License-Identifier: Apache-2.0
"""CDI specs of IMEX channels."""

from __future__ import annotations

from pathlib import Path

import pytest
from host import trees

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import machine
from nvidia_runtime.generate.options import Generated, Options

FOLDER = "dev/nvidia-caps-imex-channels"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (0, 2047, 10, 9):
        trees.mknod(tmp_path / FOLDER / f"channel{number}", 234, number)
    trees.make(tmp_path, {f"{FOLDER}/channelx": "", f"{FOLDER}/channel5": ""})
    return tmp_path


def generate(root: Path, *ids: str) -> Generated:
    return machine.generate(Options("imex", ids).but(driver_root=f"{root}", kernel_root=f"{root}"))


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["all"], ["0", "10", "2047", "9", "all"]),
        (["9"], ["9", "all"]),
        (["channel2047", "0", "channel0"], ["0", "2047", "all"]),
        (["7", "all"], ["0", "10", "2047", "9", "all"]),
    ],
)
def test_channels(ids: list[str], names: list[str], root: Path) -> None:
    assert [device["name"] for device in generate(root, *ids).spec["devices"]] == names


def test_a_channel_has_its_path_and_the_nodes_numbers_count(root: Path) -> None:
    generated = generate(root, "9")
    path = f"/{FOLDER}/channel9"

    assert generated.spec["devices"][0]["containerEdits"] == {
        "deviceNodes": [{"path": path, "hostPath": f"{root}{path}"}]
    }
    assert generated.watched == [f"{root}/{FOLDER}"]


@pytest.mark.parametrize(
    ("id_", "sentence"),
    [
        ("7", "IMEX channel 7 not found"),
        ("5", "IMEX channel 5 not found"),
        ("foo", "invalid IMEX channel ID 'foo'"),
        ("channel", "invalid IMEX channel ID 'channel'"),
        ("007", "invalid IMEX channel ID '007'"),
        ("-1", "invalid IMEX channel ID '-1'"),
        ("1048576", "invalid IMEX channel ID '1048576'"),
        ("1048575", "IMEX channel 1048575 not found"),
        ("٣", "invalid IMEX channel ID '٣'"),
        ("9" * 30, "invalid IMEX channel ID"),
        ("none", "no IMEX channel is asked for"),
    ],
)
def test_what_is_no_channel(id_: str, sentence: str, root: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match=sentence) as caught:
        generate(root, id_)

    assert caught.value.hint


def test_a_machine_without_channels(tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match="there is no IMEX channel"):
        generate(tmp_path, "all")
