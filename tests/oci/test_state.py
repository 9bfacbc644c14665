# SPDX-License-Identifier: Apache-2.0
"""The container state that a hook gets on stdin."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nvidia_runtime import schemas
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import state

STATE = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 7, "bundle": "/b"}


def read(data: object, folder: Path) -> state.State:
    """Read a document, or bytes as they are, from a descriptor."""
    file = folder / "state.json"
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return state.read(descriptor)
    finally:
        os.close(descriptor)


def test_state_of_the_specification(tmp_path: Path) -> None:
    result = read(STATE, tmp_path)

    assert schemas.violations("state", STATE) == []
    assert (result.container, result.bundle, result.pid) == ("c1", "/b", 7)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bundlePath": "/old"}, ("c1", "/b", 7)),
        ({"bundle": "", "bundlePath": "/old"}, ("c1", "/old", 7)),
        ({"bundle": None, "bundlePath": "/old"}, ("c1", "/old", 7)),
        ({"bundle": None}, ("c1", "", 7)),
        ({"id": None}, ("", "/b", 7)),
        ({"pid": None}, ("c1", "/b", 0)),
        ({"root": "/elsewhere", "annotations": []}, ("c1", "/b", 7)),
    ],
)
def test_fields(changes: dict[str, object], expected: tuple[str, str, int], tmp_path: Path) -> None:
    result = read({**STATE, **changes}, tmp_path)

    assert (result.container, result.bundle, result.pid) == expected


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "container state on stdin: is empty, not a JSON document"),
        (b"{}x", "container state on stdin: is not JSON: line 1, column 3: extra data"),
        (b"\xff", "container state on stdin: is not UTF-8: byte 0xff at offset 0"),
        (None, "container state on stdin: must be a JSON object, not null"),
        ([], "container state on stdin: must be a JSON object, not a list"),
        ({"bundle": 1}, "container state on stdin: bundle: must be a string, not 1"),
        ({"bundlePath": []}, "container state on stdin: bundlePath: must be a string, not a list"),
        (
            {"pid": "7"},
            "container state on stdin: pid: must be a whole number from 1, not a string",
        ),
        ({"pid": -1}, "container state on stdin: pid: must be a whole number from 1, not -1"),
        ({"pid": 1.5}, "container state on stdin: pid: must be a whole number from 1, not 1.5"),
        (
            {"pid": True},
            "container state on stdin: pid: must be a whole number from 1, not a boolean",
        ),
    ],
)
def test_what_is_no_state(data: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        read(data, tmp_path)

    assert str(error.value) == says


def test_state_without_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "LARGEST", 8)

    with pytest.raises(NvidiaRuntimeError) as error:
        read(STATE, tmp_path)

    assert str(error.value) == "container state on stdin: is too large: the limit is 8 bytes"


def test_stdin_that_is_closed() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        state.read(-1)

    assert str(error.value) == "container state on stdin: cannot be read: bad file descriptor"
