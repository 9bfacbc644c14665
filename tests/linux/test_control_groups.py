# SPDX-License-Identifier: Apache-2.0
"""The groups of a process, on machines with cgroup v1, v2 and both."""

from __future__ import annotations

from pathlib import Path

import device_groups
import pytest

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.linux import control_groups
from nvidia_runtime.linux.control_groups import DEVICES, UNIFIED, Group

V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 25 0:28 / /sys/fs/cgroup/devices rw shared:9 - cgroup cgroup rw,devices\n"
CPU = "34 25 0:29 / /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
HYBRID = "35 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
INNER = "36 25 0:28 /docker/c1 /sys/fs/cgroup/devices ro - cgroup cgroup rw,devices\n"
OF_V2 = "0::/system.slice/docker-c1.scope\n"
# What ends a line for str.splitlines, and may be in the name of a group.
ENDS = ("\v", "\f", "\x1c", "\x85", "\u2028")
OF_V1 = "12:cpu,cpuacct:/x\n5:devices:/docker/c1\n1:name=systemd:/docker/c1\n"


def proc(folder: Path, mounts: str, groups: str) -> str:
    """Write a /proc with our mounts, and the groups of process 7."""
    for name, file, text in (("self", "mountinfo", mounts), ("7", "cgroup", groups)):
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("mounts", "groups", "expected"),
    [
        (V2, OF_V2, {UNIFIED: "/sys/fs/cgroup/system.slice/docker-c1.scope"}),
        (CPU + V1, OF_V1, {DEVICES: "/sys/fs/cgroup/devices/docker/c1"}),
        (
            CPU + V1 + HYBRID,
            OF_V1 + "0::/\n",
            {DEVICES: "/sys/fs/cgroup/devices/docker/c1", UNIFIED: "/sys/fs/cgroup/unified"},
        ),
        (V2, OF_V1 + OF_V2, {UNIFIED: "/sys/fs/cgroup/system.slice/docker-c1.scope"}),
        (V1 + V2, "5:devices:/a:b\n0::/\n", {DEVICES: "/sys/fs/cgroup/devices/a:b", UNIFIED: "/sys/fs/cgroup"}),
        (INNER, "5:devices:/docker/c1/init\n", {DEVICES: "/sys/fs/cgroup/devices/init"}),
        (INNER, "5:devices:/docker/c1\n", {DEVICES: "/sys/fs/cgroup/devices"}),
        (V1 + INNER.replace("/sys", "/chroot/sys"), OF_V1, {DEVICES: "/sys/fs/cgroup/devices/docker/c1"}),
        (INNER + V1.replace("/sys", "/new/sys"), OF_V1, {DEVICES: "/new/sys/fs/cgroup/devices/docker/c1"}),
        (CPU, OF_V1, {}),
        *((V2, f"0::/docker/c1/a{end}0::/c2\n", {UNIFIED: f"/sys/fs/cgroup/docker/c1/a{end}0::/c2"}) for end in ENDS),
    ],
    ids=["v2", "v1", "hybrid", "v2-only-mounted", "colon", "inside", "inside-itself", "a-part-more", "a-part-before", "none", *("named like two" for _ in ENDS)],
)  # fmt: skip
def test_groups(mounts: str, groups: str, expected: dict[str, str], tmp_path: Path) -> None:
    listed = control_groups.of_process(7, proc(tmp_path, mounts, groups))

    assert {group.hierarchy: group.folder for group in listed} == expected


@pytest.mark.parametrize(
    ("mounts", "groups"),
    [(V2, "0::/../../docker-c1.scope\n"), (INNER, "5:devices:/docker/c2\n")],
)
def test_group_of_another_view(mounts: str, groups: str, tmp_path: Path) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        control_groups.of_process(7, proc(tmp_path, mounts, groups))

    assert error.value.what == "cannot be seen from here"


def test_process_that_has_ended(tmp_path: Path) -> None:
    folder = proc(tmp_path, V2, OF_V2)

    with pytest.raises(NvidiaRuntimeError) as error:
        control_groups.of_process(8, folder)

    assert str(error.value) == f"{folder}/8/cgroup: cannot be read: no such file or directory"


def test_chain() -> None:
    group = Group(hierarchy=UNIFIED, top="/c", path="/a/b")

    assert [one.folder for one in group.chain()] == ["/c/a", "/c/a/b"]
    assert Group(hierarchy=UNIFIED, top="/c", path="/").chain() == []


@pytest.mark.parametrize("hierarchy", [DEVICES, UNIFIED])
def test_groups_of_a_real_process(hierarchy: str, tmp_path: Path) -> None:
    with (
        device_groups.group(hierarchy, "inner") as folder,
        device_groups.member(f"{folder}/inner", tmp_path) as member,
    ):
        listed = control_groups.of_process(member.process.pid)

        folders = [group.folder for group in listed if group.hierarchy == hierarchy]
        assert folders == [f"{folder}/inner"]
