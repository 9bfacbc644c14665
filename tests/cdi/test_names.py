# SPDX-License-Identifier: Apache-2.0
"""Qualified device names: VENDOR/CLASS=DEVICE."""

from __future__ import annotations

import pytest

from nvidia_runtime.cdi import names


@pytest.mark.parametrize(
    "name",
    [
        "nvidia.com/gpu=0",
        "nvidia.com/gpu=all",
        "nvidia.com/gpu=0:1",
        "nvidia.com/gpu=GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76",
        "nvidia.com/gpu=MIG-GPU-1:2.3_4",
        "a/b=c",
        "A/B=0",
        "a-b_c.d9/e-f_g.h9=i-j_k.l:9",
        "runtime.nvidia.com/gpu=none",
    ],
)
def test_qualified(name: str) -> None:
    assert names.is_qualified(name)
    assert names.complaint(name) == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "no device name: it must be VENDOR/CLASS=DEVICE"),
        ("all", "no device name: it must be VENDOR/CLASS=DEVICE"),
        ("0:1", "no device name: it must be VENDOR/CLASS=DEVICE"),
        ("nvidia.com/gpu", "no device name: it must be VENDOR/CLASS=DEVICE"),
        ("gpu=0", "no vendor: it must be VENDOR/CLASS=DEVICE"),
        ("gpu=a/b", "no vendor: it must be VENDOR/CLASS=DEVICE"),
        ("/gpu=0", "empty vendor"),
        ("nvidia.com/=0", "empty class"),
        ("nvidia.com/gpu=", "empty device name"),
        ("_x/gpu=0", "vendor '_x' must begin with a letter"),
        ("3com/gpu=0", "vendor '3com' must begin with a letter"),
        ("é/gpu=0", "vendor 'é' must begin with a letter"),
        ("a/.b=0", "class '.b' must begin with a letter"),
        ("a.b-/c=0", "vendor 'a.b-' must end with a letter or a digit"),
        ("a/c_=0", "class 'c_' must end with a letter or a digit"),
        ("a b/c=0", "vendor 'a b' has an invalid character ' '"),
        ("a/b/c=0", "class 'b/c' has an invalid character '/'"),
        ("a/b:c=0", "class 'b:c' has an invalid character ':'"),
        ("a/b=-1", "device name '-1' must begin with a letter or a digit"),
        ("a/b=1-", "device name '1-' must end with a letter or a digit"),
        ("a/b=1=2", "device name '1=2' has an invalid character '='"),
        ("a/b=1/2", "device name '1/2' has an invalid character '/'"),
        ("a/b=0\n", "device name '0\\n' has an invalid character '\\n'"),
        ("a/b=\u0663", "device name '\u0663' must begin with a letter or a digit"),
    ],
)
def test_unqualified(name: str, says: str) -> None:
    assert names.complaint(name) == says
    assert not names.is_qualified(name)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nvidia.com/gpu", ""),
        ("a/b", ""),
        ("", "must be VENDOR/CLASS"),
        ("nvidia.com", "must be VENDOR/CLASS"),
        ("/gpu", "empty vendor"),
        ("nvidia.com/", "empty class"),
        ("nvidia.com/gpu/x", "class 'gpu/x' has an invalid character '/'"),
        ("nvidia.com/gpu=0", "class 'gpu=0' has an invalid character '='"),
    ],
)
def test_kind(kind: str, says: str) -> None:
    assert names.kind_complaint(kind) == says
