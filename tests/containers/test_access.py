# SPDX-License-Identifier: Apache-2.0
"""Which control groups are a container's alone."""

from __future__ import annotations

import pytest

from nvidia_runtime.containers import access
from nvidia_runtime.linux.control_groups import DEVICES, UNIFIED, Group

ID = "3f2a" * 16


def group(path: str, hierarchy: str = UNIFIED) -> Group:
    return Group(hierarchy=hierarchy, top="/sys/fs/cgroup", path=path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/docker/{ID}", [f"/docker/{ID}"]),
        (f"/docker/{ID}/init.scope", [f"/docker/{ID}", f"/docker/{ID}/init.scope"]),
        (f"/system.slice/docker-{ID}.scope", [f"/system.slice/docker-{ID}.scope"]),
        (
            f"/machine.slice/libpod-{ID}.scope/container",
            [f"/machine.slice/libpod-{ID}.scope", f"/machine.slice/libpod-{ID}.scope/container"],
        ),
        (f"/kubepods.slice/pod1.slice/crio-{ID}.scope", None),
        (f"/kubepods/besteffort/pod1/{ID}", None),
        (f"/k8s.slice/cri-containerd-{ID}.scope", None),
        (f"/libpod_parent/libpod-{ID}", None),
        (f"/libpod_parent/libpod-conmon-{ID[:-1]}0", []),
        (f"/a-{ID}.slice/b", []),
        (f"/x{ID}", []),
        ("/user.slice/user-0.slice/session-1.scope", []),
        ("/", []),
    ],
)
def test_own_groups(path: str, expected: list[str] | None) -> None:
    own = [one.path for one in access.own(group(path), ID)]

    assert own == ([path] if expected is None else expected)


def test_a_container_without_an_id_has_no_group() -> None:
    assert access.own(group("/x-"), "") == []


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"/system.slice/docker-{ID}.scope", f"docker-{ID}.scope"),
        (f"/machine.slice/libpod-{ID}.scope/container", f"libpod-{ID}.scope"),
        (f"/docker/{ID}", ""),
        (f"/docker/{ID}/init.scope", ""),
    ],
)
def test_unit(path: str, unit: str) -> None:
    assert access.unit([group("/", DEVICES), group(path)], ID) == unit


@pytest.mark.parametrize(
    ("name", "container", "is_own"),
    [
        (ID, ID, True),
        (f"docker-{ID}.scope", ID, True),
        (f"any-word-{ID}.scope", ID, True),
        ("runc-c1.scope", "c1", True),
        ("crun-c1.scope", "c1", True),
        ("c1", "c1", True),
        ("session-c1.scope", "c1", False),
        ("session-1.scope", "1", False),
        ("app-gnome-terminal-4711.scope", "4711", False),
        ("web-1", "1", False),
        (f"docker-{ID}x.scope", ID, False),
        (f"docker-{ID}.scope", "", False),
        ("docker-.scope", "", False),
    ],
)
def test_group_of_a_container(name: str, container: str, *, is_own: bool) -> None:
    """Who chooses an id by hand does not get the group of a login session."""
    assert access.is_named_after(name, container) == is_own
