# SPDX-License-Identifier: Apache-2.0
"""Container edits: from the form of a CDI spec to that of the runtime-spec."""

from __future__ import annotations

from typing import Any

import pytest

from nvidia_runtime.cdi import edits

Form = dict[str, Any]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param(
            {"env": [], "deviceNodes": None, "hooks": [], "intelRdt": None, "netDevices": []},
            {},
            id="what is empty",
        ),
        pytest.param({"intelRdt": {}}, {"intelRdt": {}}, id="empty, but replaces another"),
        pytest.param({"env": ["A=1", "B="]}, {"env": ["A=1", "B="]}, id="env"),
        pytest.param(
            {"deviceNodes": [{"path": "/dev/x"}]}, {"devices": [{"path": "/dev/x"}]}, id="node"
        ),
        pytest.param(
            {
                "deviceNodes": [
                    {
                        "path": "/dev/x",
                        "hostPath": "",
                        "type": "c",
                        "major": 0,
                        "minor": None,
                        "permissions": "",
                        "uid": 0,
                    }
                ]
            },
            {"devices": [{"path": "/dev/x", "type": "c", "major": 0, "uid": 0}]},
            id="node with empty fields",
        ),
        pytest.param(
            {"mounts": [{"hostPath": "/a", "containerPath": "/b"}]},
            {"mounts": [{"destination": "/b", "source": "/a"}]},
            id="mount",
        ),
        pytest.param(
            {"mounts": [{"hostPath": "/a", "containerPath": "/b", "options": [], "type": ""}]},
            {"mounts": [{"destination": "/b", "source": "/a"}]},
            id="mount with empty fields",
        ),
        pytest.param(
            {
                "mounts": [
                    {"hostPath": "t", "containerPath": "/b", "options": ["ro"], "type": "tmpfs"}
                ]
            },
            {"mounts": [{"destination": "/b", "source": "t", "type": "tmpfs", "options": ["ro"]}]},
            id="mount with all fields",
        ),
        pytest.param(
            {
                "hooks": [
                    {"hookName": "poststop", "path": "/a", "args": []},
                    {"hookName": "prestart", "path": "/b", "args": ["b", ""], "timeout": 0},
                    {"hookName": "poststop", "path": "/c", "env": ["A=1"]},
                ]
            },
            {
                "hooks": {
                    "poststop": [{"path": "/a"}, {"path": "/c", "env": ["A=1"]}],
                    "prestart": [{"path": "/b", "args": ["b", ""], "timeout": 0}],
                }
            },
            id="hooks by stage, each in its order",
        ),
        pytest.param(
            {"additionalGids": [0, 44, 0, 5]}, {"additionalGids": [44, 5]}, id="groups but root"
        ),
        pytest.param({"additionalGids": [0]}, {}, id="root's group alone"),
        pytest.param(
            {"intelRdt": {"closID": "a", "l3CacheSchema": "", "enableCMT": False}},
            {"intelRdt": {"closID": "a", "enableCMT": False}},
            id="intelRdt",
        ),
        pytest.param(
            {
                "netDevices": [
                    {"hostInterfaceName": "eth1", "name": "a"},
                    {"hostInterfaceName": "eth0", "name": "b"},
                ]
            },
            {"netDevices": {"eth1": {"name": "a"}, "eth0": {"name": "b"}}},
            id="network devices",
        ),
    ],
)
def test_prepare(given: Form, expected: Form) -> None:
    assert edits.prepare(given) == expected


def test_arguments_stay_as_they_are() -> None:
    given: Form = {"env": ["A=1"], "hooks": [{"hookName": "poststop", "path": "/a"}]}

    edits.prepare(given)["env"].append("B=2")

    assert given == {"env": ["A=1"], "hooks": [{"hookName": "poststop", "path": "/a"}]}
