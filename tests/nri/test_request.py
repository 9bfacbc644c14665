# SPDX-License-Identifier: Apache-2.0
"""Which devices a container gets by its pod's annotations."""

from __future__ import annotations

import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.nri import request

BARE = "nvidia.cdi.k8s.io"
POD, MINE, OTHERS = f"{BARE}/pod", f"{BARE}/container.c", f"{BARE}/container.d"
GPU, MANAGEMENT = "nvidia.com/gpu=0", "management.nvidia.com/gpu=all"


@pytest.mark.parametrize(
    ("annotations", "devices"),
    [
        pytest.param({}, (), id="none"),
        pytest.param({BARE: GPU}, (GPU,), id="bare"),
        pytest.param({POD: GPU, BARE: "a.b/c=d"}, (GPU,), id="pod before bare"),
        pytest.param({MINE: GPU, POD: "a.b/c=d"}, (GPU,), id="container before pod"),
        pytest.param({OTHERS: GPU}, (), id="another container"),
        pytest.param({MINE: "", POD: GPU}, (), id="an empty one counts"),
        pytest.param({POD: f" {GPU} ,a.b/c=d,"}, (GPU, "a.b/c=d"), id="blanks, a comma at the end"),
        pytest.param({POD: f"{GPU},{GPU}"}, (GPU,), id="twice"),
        pytest.param({POD: MANAGEMENT}, (), id="management"),
        pytest.param({POD: f"{GPU},{MANAGEMENT}"}, (), id="management among others"),
    ],
)
def test_devices(annotations: dict[str, str], devices: tuple[str, ...]) -> None:
    assert request.answer("c", "default", annotations, frozenset({"system"})).devices == devices


def test_management_in_a_trusted_namespace() -> None:
    trusted = frozenset({"system", "other"})

    for namespace in trusted:
        given = request.answer("c", namespace, {POD: MANAGEMENT}, trusted)
        assert given.devices == (MANAGEMENT,)
    given = request.answer("c", "default", {POD: MANAGEMENT}, trusted)
    assert given.refused == "management.nvidia.com/gpu is not for pods of namespace 'default'"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", f"{POD}: '0': no device name: it must be VENDOR/CLASS=DEVICE"),
        (
            "nvidia.com/gpu=../x",
            f"{POD}: 'nvidia.com/gpu=../x': device name '../x' must begin with",
        ),
        (",".join(f"a.b/c={n}" for n in range(2000)), f"{POD}: more than 1024 devices"),
    ],
)
def test_name_that_cannot_be(value: str, said: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as caught:
        request.answer("c", "default", {POD: value}, frozenset())

    assert str(caught.value).startswith(said)
