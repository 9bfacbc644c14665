# SPDX-License-Identifier: Apache-2.0
"""Which version of CDI a spec needs."""

from __future__ import annotations

import json

import pytest
from builders import Document, cdi_spec, device

from nvidia_runtime.cdi import spec as cdi_spec_file
from nvidia_runtime.cdi import versions
from nvidia_runtime.errors import NvidiaRuntimeError


def refusal(document: Document) -> str:
    with pytest.raises(NvidiaRuntimeError) as raised:
        cdi_spec_file.parse(json.dumps(document).encode(), "x")
    return str(raised.value).removeprefix("x: ")


@pytest.mark.parametrize(
    ("edits", "least"),
    [
        ({"env": ["A=1"]}, "0.3.0"),
        ({"mounts": [{"hostPath": "/a", "containerPath": "/a", "type": "bind"}]}, "0.4.0"),
        ({"deviceNodes": [{"path": "/x", "hostPath": "/y"}]}, "0.5.0"),
        ({"additionalGids": [44]}, "0.7.0"),
        ({"intelRdt": {"closID": "a"}}, "0.7.0"),
        ({"intelRdt": {}}, "0.7.0"),
        ({"intelRdt": None, "env": ["A=1"]}, "0.3.0"),
        ({"intelRdt": {"schemata": ["a"]}}, "1.1.0"),
        ({"intelRdt": {"schemata": []}}, "1.1.0"),
        ({"intelRdt": {"schemata": None}}, "0.7.0"),
        ({"intelRdt": {"enableMonitoring": True}}, "1.1.0"),
        ({"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}, "1.1.0"),
    ],
)
def test_version_that_edits_need(edits: Document, least: str) -> None:
    before = versions.VERSIONS[versions.VERSIONS.index(least) - 1]
    document = cdi_spec(device("a", **edits), cdiVersion=before)
    what = f"cdiVersion: is {before}, but what the spec has in it needs {least}"

    assert refusal(document) == what
    assert cdi_spec_file.parse(json.dumps({**document, "cdiVersion": least}).encode(), "x")
    in_spec = cdi_spec(device("a"), cdiVersion=least, containerEdits=edits)
    assert versions.minimum(in_spec) == least


@pytest.mark.parametrize(
    ("document", "least"),
    [
        (cdi_spec(device("a")), "0.3.0"),
        (cdi_spec(device("0")), "0.5.0"),
        (cdi_spec(device("a"), annotations={"a": "b"}), "0.6.0"),
        (cdi_spec({**device("a"), "annotations": {"a": "b"}}), "0.6.0"),
        (cdi_spec(device("a"), annotations={}), "0.3.0"),
        (cdi_spec(device("a"), kind="a.b/c.d"), "0.6.0"),
        (cdi_spec(device("a"), kind="a.b/c"), "0.3.0"),
    ],
)
def test_version_that_the_rest_needs(document: Document, least: str) -> None:
    assert versions.minimum(document) == least


@pytest.mark.parametrize(
    ("version", "other", "expected"),
    [("0.5.0", "0.6.0", True), ("v0.5.0", "1.0.0", True), ("0.6.0", "0.6.0", False)],
)
def test_is_older(version: str, other: str, expected: bool) -> None:
    assert versions.is_older(version, other) is expected
