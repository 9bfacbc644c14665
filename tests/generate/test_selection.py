# SPDX-License-Identifier: Apache-2.0
"""The devices that ids mean."""

from __future__ import annotations

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.generate.selection import select
from nvidia_runtime.host.gpu import Gpu, Mig


def gpu(index: int, name: str = "NVIDIA A100", migs: int = -1) -> Gpu:
    """Make a GPU, in MIG mode with so many devices unless that is less than 0."""
    device = Gpu(index)
    device.uuid, device.name, device.is_mig = f"GPU-{index}", name, migs >= 0
    device.migs = tuple(mig(index, number) for number in range(migs))
    return device


def mig(gpu_index: int, index: int) -> Mig:
    device = Mig(index)
    device.uuid, device.gpu_instance, device.compute_instance = (
        f"MIG-{gpu_index}-{index}",
        7 + index,
        0,
    )
    return device


MACHINE = [gpu(0), gpu(1, migs=2), gpu(2, "NVIDIA DGX Display"), gpu(3, migs=0)]


@pytest.mark.parametrize(
    ("ids", "chosen", "hidden"),
    [
        pytest.param(
            ("all",), ["0", "1:0", "1:1"], ["1", "2", "3"], id="all but empty and displays"
        ),
        pytest.param(("2", "GPU-2"), ["2"], [], id="a display by its names"),
        pytest.param(("1:1", "0"), ["1:1", "0"], [], id="in the order of the request"),
        pytest.param(("GPU-0", "0"), ["0"], [], id="twice by two names"),
        pytest.param(("1",), ["1"], [], id="a GPU in MIG mode"),
        pytest.param(("MIG-1-0",), ["1:0"], [], id="UUID of a MIG device"),
        pytest.param(("MIG-GPU-1/8/0",), ["1:1"], [], id="instances of a MIG device"),
        pytest.param(("0", "all"), ["0", "1:0", "1:1"], ["1", "2", "3"], id="all and one"),
    ],
)
def test_select(ids: tuple[str, ...], chosen: list[str], hidden: list[str]) -> None:
    devices, others = select(MACHINE, ids)

    assert [device.index() for device in devices] == chosen
    assert [device.index() for device in others] == hidden


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        pytest.param(("7",), "this machine has no device '7'", id="index"),
        pytest.param(("0", "9:9", ""), "this machine has no device '9:9', ''", id="several"),
    ],
)
def test_unknown(ids: tuple[str, ...], says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        select(MACHINE, ids)

    assert str(error.value) == says
    assert error.value.hint == "it has 0, 1, 2, 3, 1:0, 1:1; 'nvidia-smi -L' shows their UUIDs"


def test_unknown_without_end() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        select(MACHINE, tuple(f"{number}{'x' * 5000}" for number in range(4000)))

    assert len(str(error.value)) < 2000
    assert str(error.value).endswith(" and 3992 more")


def test_a_gpu_without_uuid_is_not_meant_by_an_empty_id() -> None:
    with pytest.raises(NvidiaRuntimeError, match="no device ''"):
        select([Gpu(0)], ("",))
