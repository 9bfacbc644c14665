# SPDX-License-Identifier: Apache-2.0
"""What libdxcore says of the drivers of Windows, and what happens if it does not answer."""

from __future__ import annotations

import ctypes

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import dxcore

from . import dxcore_library


@pytest.mark.parametrize("behaviour", ["ok", "old"])
def test_stores_of_drivers_that_can_lend_a_gpu(
    behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DXCORE", behaviour)

    assert dxcore.driver_stores(dxcore_library.library(), 10) == dxcore_library.STORES


@pytest.mark.parametrize(
    ("behaviour", "patience", "sentence"),
    [
        ("error", 10.0, "cannot list the adapters"),
        ("crash", 10.0, "crashed (SIGABRT)"),
        ("hang", 0.2, "did not answer within 0.2 s"),
    ],
)
def test_no_answer(
    behaviour: str, patience: float, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DXCORE", behaviour)
    library = dxcore_library.library()
    with pytest.raises(NvidiaRuntimeError) as caught:
        dxcore.driver_stores(library, patience)

    assert str(caught.value) == f"{library}: {sentence}"
    assert "wsl --update" in caught.value.hint


def test_no_library() -> None:
    with pytest.raises(NvidiaRuntimeError, match="cannot open shared object file"):
        dxcore.driver_stores("/nowhere/libdxcore.so", 10)


def test_a_library_without_the_calls() -> None:
    """libc is a library too."""
    with pytest.raises(NvidiaRuntimeError, match="undefined symbol: D3DKMTEnumAdapters2"):
        dxcore.driver_stores("libc.so.6", 10)


@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (dxcore.AdapterInfo, 20),
        (dxcore.Adapters2, 16),
        (dxcore.Adapters3, 24),
        (dxcore.Query, 24),
        (dxcore.RegistryQuery, 1072),
    ],
)
def test_structures_have_the_size_that_64_bits_give(
    structure: type[ctypes.Structure], size: int
) -> None:
    assert ctypes.sizeof(structure) == size
