# SPDX-License-Identifier: Apache-2.0
"""Names of devices by strategies."""

from __future__ import annotations

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate import naming


@pytest.mark.parametrize(
    ("strategies", "index", "uuid", "expected"),
    [
        pytest.param(["index"], "3", "GPU-1", ["3"], id="index"),
        pytest.param(["index", "uuid"], "3", "GPU-1", ["3", "GPU-1"], id="index and UUID"),
        pytest.param(["uuid"], "3", "", [], id="unknown UUID"),
        pytest.param(["type-index"], "3", "GPU-1", ["gpu3"], id="type of a GPU"),
        pytest.param(["type-index"], "3:0", "MIG-1", ["mig3:0"], id="type of a MIG device"),
        pytest.param(["index", "index"], "0", "GPU-1", ["0"], id="twice"),
    ],
)
def test_names(strategies: list[str], index: str, uuid: str, expected: list[str]) -> None:
    assert naming.names(strategies, index, uuid) == expected


def test_unknown_strategy() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        naming.names(["number"], "0", "")

    assert str(error.value) == "unknown device name strategy 'number'"
    assert error.value.hint == "they are index, type-index, uuid"
