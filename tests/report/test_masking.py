# SPDX-License-Identifier: Apache-2.0
"""What is masked in texts: folders of golden/, each with a reason, what comes in, what goes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvidia_runtime.report.masking import Masker

GOLDEN = sorted(path.parent for path in Path(__file__).parent.glob("golden/*/why.txt"))
NAMES = {
    "host": ["build-7.corp.example.com", "build-7", "node"],
    "user": ["alice", "root"],
    "person": ["Alice Liddell"],
}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_golden(case: Path) -> None:
    text = (case / "input.txt").read_text()

    assert Masker(NAMES).text(text) == (case / "expected.txt").read_text()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_masked_text_stays(case: Path) -> None:
    text = (case / "expected.txt").read_text()

    assert Masker(NAMES).text(text) == text


DOCUMENTS = {
    "keys": (
        {"auths": {"registry.corp.example.com": {"auth": "eA==", "email": "a@b.example"}}},
        {"auths": {"<host 1>": {"auth": "<secret 1>", "email": "<mail 1>"}}},
    ),
    "environment": (
        {"env": ["A=b", "NVIDIA_VISIBLE_DEVICES=0", "EMPTY="]},
        {"env": ["A=<value 1>", "NVIDIA_VISIBLE_DEVICES=0", "EMPTY="]},
    ),
    "serial number": (
        {"serial": 123456, "count": 123456},
        {"serial": "<serial 1>", "count": 123456},
    ),
    "other values": ({"a": [1, None, True, "x"]}, {"a": [1, None, True, "x"]}),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document(name: str) -> None:
    given_document, expected = DOCUMENTS[name]

    assert Masker().document(given_document) == expected


def test_json_text_is_masked_by_its_keys() -> None:
    text = Masker().json(b'{"token": "x y", "list": ["10.0.0.1"]}')

    assert json.loads(text) == {"token": "<secret 1>", "list": ["<address 1>"]}


def test_broken_json_is_masked_as_text() -> None:
    assert Masker().json(b'{"token": "x y", ') == '{"token": "<secret 1>", '


def test_same_thing_has_the_same_mask() -> None:
    masker = Masker(NAMES)

    assert masker.text("alice at 10.0.0.1") == "<user 1> at <address 1>"
    assert masker.text("10.0.0.2 of /home/alice") == "<address 2> of /home/<user 1>"


@given(st.text(alphabet="ab1=:\"' \n\ue000\ue001<>-./@", max_size=60))
def test_any_text(text: str) -> None:
    """Nothing that is looked for makes it fail, and no holder is left."""
    masked = Masker(NAMES).text(text)

    assert "\ue000" not in masked
