# SPDX-License-Identifier: Apache-2.0
"""CDI specs as YAML text: read back as they were, in the layout of Go's library."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvidia_runtime.cdi import yaml_document, yaml_text

MOST = 100_000


def load(text: str) -> object:
    return yaml_document.load(text.encode(), "x.yaml", MOST)


def test_layout() -> None:
    document = {
        "cdiVersion": "0.5.0",
        "devices": [{"name": "0", "edits": {"nodes": [{"path": "/dev/a", "minor": 1}]}}],
        "edits": {"env": ["A=1", "B= 2"], "none": []},
    }

    assert yaml_text.dumps(document) == (
        "---\n"
        "cdiVersion: 0.5.0\n"
        "devices:\n"
        '    - name: "0"\n'
        "      edits:\n"
        "        nodes:\n"
        "            - path: /dev/a\n"
        "              minor: 1\n"
        "edits:\n"
        "    env:\n"
        "        - A=1\n"
        '        - "B= 2"\n'
        "    none: []\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "GPU-de566282-43e0-59b1-bccd-b3623a2d0f99",
        "/usr/lib/x86_64-linux-gnu",
        "../card1::/dev/dri/by-path/pci-0000:00:1e.0-card",
        "--host-driver-version=580.95.05",
        "libcuda.so.1::/usr/lib/libcuda.so",
        "0.7.0",
        "NVIDIA_VISIBLE_DEVICES=void",
    ],
)
def test_what_needs_no_quotes(text: str) -> None:
    assert yaml_text.dumps({"a": text}) == f"---\na: {text}\n"


@pytest.mark.parametrize(
    "text",
    ["", "0", "0:0", "755", "0x10", "1e3", "true", "Y", "off", "null", "~", "a: b", "a #b", "a:"]
    + [
        "-",
        "- a",
        "--- a",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "<<",
        "{}",
        "[]",
        "é",
        "\n",
        "\x7f",
        "\U0001f600",
    ]
    + ["1.2", ".5", "2001-01-01", "---", "--", "..", "=", "'", '"', "\\", "1.2.3.x", "..."],
)
def test_odd_texts_are_read_back(text: str) -> None:
    assert load(yaml_text.dumps({"a": [text, {text: text}]})) == {"a": [text, {text: text}]}


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = TEXTS | st.booleans() | st.integers(-(2**40), 2**40)
# A CDI spec has no lists in lists.
MAPPINGS = st.recursive(
    st.dictionaries(TEXTS, SCALARS, max_size=3),
    lambda inner: st.dictionaries(TEXTS, st.lists(inner | SCALARS, max_size=3) | inner, max_size=3),
    max_leaves=8,
)


@given(MAPPINGS.filter(bool))
def test_anything_is_read_back(document: dict[str, Any]) -> None:
    assert load(yaml_text.dumps(document)) == document
