# SPDX-License-Identifier: Apache-2.0
"""One CDI spec file: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import Document, cdi_spec, device

from nvidia_runtime import schemas
from nvidia_runtime.cdi import spec as cdi_spec_file
from nvidia_runtime.errors import NvidiaRuntimeError

FILE = "/etc/cdi/x.json"
UINT32 = 1 << 32
INT64 = 1 << 63


def parsed(document: object) -> Document:
    """Parse a document as JSON."""
    return cdi_spec_file.parse(json.dumps(document).encode(), FILE)


NET = {"hostInterfaceName": "e", "name": "e"}


def refusal(document: object) -> str:
    """Return the message by which a document is refused, without the file's name."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(NvidiaRuntimeError) as error:
        cdi_spec_file.parse(data, FILE)
    return str(error.value).removeprefix(f"{FILE}: ")


def editing(**edits: Any) -> Document:
    """Make a spec of the newest version whose only device has these edits."""
    return cdi_spec(device(**edits), cdiVersion="1.1.0")


def test_smallest() -> None:
    assert parsed(cdi_spec()) == cdi_spec()


def test_every_field() -> None:
    edits = {
        "env": ["A=1"],
        "deviceNodes": [
            {
                "path": "/dev/x",
                "hostPath": "/dev/y",
                "type": "c",
                "major": 1,
                "minor": 0,
                "fileMode": 0o666,
                "permissions": "rw",
                "uid": 0,
                "gid": UINT32 - 1,
            }
        ],
        "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro"], "type": "bind"}],
        "hooks": [
            {
                "hookName": "createContainer",
                "path": "/h",
                "args": ["h", ""],
                "env": ["B="],
                "timeout": -1,
            }
        ],
        "additionalGids": [0, 44],
        "intelRdt": {"closID": "a", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=70"},
        "netDevices": [{"hostInterfaceName": "eth0", "name": "e"}],
    }
    edits["intelRdt"] |= {"schemata": ["x"], "enableMonitoring": True}  # type: ignore[operator]
    document = cdi_spec(
        {"name": "0", "annotations": {"a": ""}, "containerEdits": edits},
        cdiVersion="v1.1.0",
        annotations={"b": "c"},
        containerEdits=edits,
    )

    assert parsed(document) == document


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "must be an object"),
        ("x", "must be an object"),
        (5, "must be an object"),
        (None, "has no CDI spec in it"),
        (b"", "has no CDI spec in it"),
        (b"# nothing", "has no CDI spec in it"),
        (b"\xff", "is not UTF-8: byte 0xff at offset 0"),
        ({}, "cdiVersion: '' is not a known CDI version"),
        (cdi_spec(cdiVersion="0.5"), "cdiVersion: '0.5' is not a known CDI version"),
        (cdi_spec(cdiVersion="2.0.0"), "cdiVersion: '2.0.0' is not a known CDI version"),
        (cdi_spec(cdiVersion=[]), "cdiVersion: must be a string, not a list"),
        (cdi_spec(kind="gpu"), "kind: must be VENDOR/CLASS"),
        (cdi_spec(kind=None), "kind: must be VENDOR/CLASS"),
        (cdi_spec(kind="a/b "), "kind: class 'b ' has an invalid character ' '"),
        (cdi_spec(devices=[]), "devices: has no device"),
        (cdi_spec(devices=None), "devices: has no device"),
        (cdi_spec(devices={}), "devices: must be a list, not an object"),
        (cdi_spec(Devices=[]), "Devices: is not a field of a CDI spec"),
        (cdi_spec(annotations=[]), "annotations: must be an object, not a list"),
        (cdi_spec(annotations={"a": {}}), "annotations.a: must be a string, not an object"),
        (cdi_spec(containerEdits=5), "containerEdits: must be an object, not a number"),
    ],
)
def test_refused_document(document: object, says: str) -> None:
    assert refusal(document) == says


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        (["x"], "devices[0]: must be an object, not a string"),
        ([device(), None], "devices[1]: must be an object, not null"),
        ([{"name": "0", "edits": {}}], "devices[0].edits: is not a field of a CDI spec"),
        ([{"containerEdits": {"env": ["A=1"]}}], "devices[0].name: empty device name"),
        (
            [device("a b")],
            "devices[0].name: device name 'a b' has an invalid character ' '",
        ),
        ([device("1"), device("1")], "devices[1].name: device '1' is there twice"),
        (
            [{"name": "0"}],
            "devices[0].containerEdits: is empty: a device must edit something",
        ),
        (
            [{"name": "0", "containerEdits": {"env": [], "mounts": None}}],
            "devices[0].containerEdits: is empty: a device must edit something",
        ),
    ],
)
def test_refused_device(devices: list[object], says: str) -> None:
    assert refusal(cdi_spec(devices=devices)) == says


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"envs": []}, "envs: is not a field of a CDI spec"),
        ({"env": "A=1"}, "env: must be a list, not a string"),
        ({"env": ["A=1", "B"]}, "env[1]: 'B' is not NAME=VALUE"),
        ({"env": ["=1"]}, "env[0]: '=1' is not NAME=VALUE"),
        ({"env": [[]]}, "env[0]: must be a string, not a list"),
        ({"deviceNodes": [{}]}, "deviceNodes[0].path: is missing"),
        ({"deviceNodes": [{"path": ""}]}, "deviceNodes[0].path: is missing"),
        ({"deviceNodes": ["/dev/x"]}, "deviceNodes[0]: must be an object, not a string"),
        (
            {"deviceNodes": [{"path": "/x", "type": "d"}]},
            "deviceNodes[0].type: 'd' is not one of b, c, u, p",
        ),
        (
            {"deviceNodes": [{"path": "/x", "permissions": "rx"}]},
            "deviceNodes[0].permissions: 'rx' must be letters of rwm, or none",
        ),
        (
            {"deviceNodes": [{"path": "/x", "major": "1"}]},
            "deviceNodes[0].major: must be a whole number, not a string",
        ),
        (
            {"deviceNodes": [{"path": "/x", "minor": True}]},
            "deviceNodes[0].minor: must be a whole number, not a boolean",
        ),
        (
            {"deviceNodes": [{"path": "/x", "major": 1.5}]},
            "deviceNodes[0].major: must be a whole number, not a number",
        ),
        (
            {"deviceNodes": [{"path": "/x", "major": INT64}]},
            f"deviceNodes[0].major: is out of range: {INT64}",
        ),
        (
            {"deviceNodes": [{"path": "/x", "major": -1}]},
            "deviceNodes[0].major: is out of range: -1",
        ),
        (
            {"deviceNodes": [{"path": "/x", "fileMode": -1}]},
            "deviceNodes[0].fileMode: is out of range: -1",
        ),
        (
            {"deviceNodes": [{"path": "/x", "uid": UINT32}]},
            f"deviceNodes[0].uid: is out of range: {UINT32}",
        ),
        ({"mounts": [{"containerPath": "/a"}]}, "mounts[0].hostPath: is missing"),
        ({"mounts": [{"hostPath": "/a"}]}, "mounts[0].containerPath: is missing"),
        (
            {"mounts": [{"hostPath": "/a", "containerPath": "/a", "options": "ro"}]},
            "mounts[0].options: must be a list, not a string",
        ),
        ({"mounts": [{"source": "/a"}]}, "mounts[0].source: is not a field of a CDI spec"),
        (
            {"hooks": [{"path": "/h"}]},
            "hooks[0].hookName: None is not one of prestart, createRuntime, createContainer, "
            "startContainer, poststart, poststop",
        ),
        ({"hooks": [{"hookName": "poststop"}]}, "hooks[0].path: is missing"),
        (
            {"hooks": [{"hookName": "poststop", "path": "/h", "env": ["A"]}]},
            "hooks[0].env[0]: 'A' is not NAME=VALUE",
        ),
        (
            {"hooks": [{"hookName": "poststop", "path": "/h", "timeout": "5"}]},
            "hooks[0].timeout: must be a whole number, not a string",
        ),
        ({"additionalGids": [-1]}, "additionalGids[0]: is out of range: -1"),
        ({"additionalGids": 5}, "additionalGids: must be a list, not a number"),
        ({"intelRdt": []}, "intelRdt: must be an object, not a list"),
        ({"intelRdt": {"closID": ".."}}, "intelRdt.closID: '..' is not a name of a group"),
        ({"intelRdt": {"closID": "a/b"}}, "intelRdt.closID: 'a/b' is not a name of a group"),
        ({"intelRdt": {"x": 1}}, "intelRdt.x: is not a field of a CDI spec"),
        (
            {"intelRdt": {"enableCMT": "yes"}},
            "intelRdt.enableCMT: must be true or false, not a string",
        ),
        ({"netDevices": [{"name": "e"}]}, "netDevices[0].hostInterfaceName: is missing"),
        ({"netDevices": [{"hostInterfaceName": "e"}]}, "netDevices[0].name: is missing"),
        (
            {"netDevices": [NET, {**NET, "name": "f"}]},
            "netDevices[1].hostInterfaceName: 'e' is that of netDevices[0] already",
        ),
        (
            {"netDevices": [NET, {**NET, "hostInterfaceName": "f"}]},
            "netDevices[1].name: 'e' is that of netDevices[0] already",
        ),
    ],
)
def test_refused_edits(edits: Document, says: str) -> None:
    assert refusal(editing(**edits)) == f"devices[0].containerEdits.{says}"
    whole = cdi_spec(cdiVersion="1.1.0", containerEdits=edits)
    assert refusal(whole) == f"containerEdits.{says}"


def test_template_of_a_name_may_be_repeated() -> None:
    devices = [{"hostInterfaceName": name, "name": "eth%d"} for name in ("a", "b")]

    assert parsed(editing(netDevices=devices))


def test_node_that_is_only_seen() -> None:
    document = editing(deviceNodes=[{"path": "/dev/x", "permissions": "none"}])

    assert cdi_spec_file.parse(json.dumps(document).encode(), FILE)


def test_null_is_nothing_among_annotations() -> None:
    document = cdi_spec(cdiVersion="0.6.0", annotations={"a": None})

    assert cdi_spec_file.parse(json.dumps(document).encode(), FILE)["annotations"] == {"a": ""}
    assert schemas.violations("cdi", document) == []


def test_scalars_of_yaml_get_the_types_of_cdi() -> None:
    text = """
        cdiVersion: 0.5.0
        kind: nvidia.com/gpu
        containerEdits: ~
        devices:
        - name: 0
          containerEdits:
            env: [A=1]
            deviceNodes: [{path: /dev/x, fileMode: 0660, major: 1.0}]
            mounts: [{hostPath: /a, containerPath: /a, options: [ro, on, ~]}]
    """

    spec = cdi_spec_file.parse(text.encode(), FILE)

    (only,) = spec["devices"]
    assert only["name"] == "0"
    node = {"path": "/dev/x", "fileMode": 0o660, "major": 1}
    assert only["containerEdits"]["deviceNodes"] == [node]
    assert only["containerEdits"]["mounts"][0]["options"] == ["ro", "true", ""]


def test_file_of_json_may_be_yaml_and_the_other_way_round() -> None:
    assert cdi_spec_file.parse(json.dumps(cdi_spec()).encode(), "/etc/cdi/x.yaml") == cdi_spec()
    yaml = b"{cdiVersion: 0.5.0, kind: a/b, devices: [{name: c, containerEdits: {env: [A=1]}}]}"
    assert cdi_spec_file.parse(yaml, FILE)["kind"] == "a/b"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"kind": "a/b", "kind": "a/c"}', "YAML: line 1, column 17: repeated key 'kind'"),
        (b'{"kind": ', "JSON: line 1, column 10: expecting value"),
        (b'{"kind": "a/b"} x', "JSON: line 1, column 17: extra data"),
    ],
)
def test_broken_json(data: bytes, says: str) -> None:
    assert refusal(data) == f"is not {says}"


def test_too_large() -> None:
    assert refusal(b" " * (cdi_spec_file.LARGEST + 1)) == "is too large: the limit is 8388608 bytes"


def test_json_nested_too_deeply() -> None:
    assert refusal(b'{"a":' * 100_000) == "is nested deeper than 50 levels"
