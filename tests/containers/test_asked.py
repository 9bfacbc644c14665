# SPDX-License-Identifier: Apache-2.0
"""What a container was given: by its record, with the numbers and rules of its config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.containers import asked
from nvidia_runtime.containers.asked import Mount, Node

HOOK = {"path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "update-ldcache"]}


def part(**edits: Any) -> dict[str, Any]:
    return {"device": "nvidia.com/gpu=0", "from": {"file": "/etc/cdi/a.json"}, "edits": edits}


def device(path: str, major: int, minor: int, kind: str = "c") -> dict[str, Any]:
    return {"path": path, "type": kind, "major": major, "minor": minor}


def rule(major: int | None, minor: int | None, access: str, **more: Any) -> dict[str, Any]:
    return {"allow": True, "type": "c", "major": major, "minor": minor, "access": access, **more}


def read(bundle: Path, *parts: Any, **record: Any) -> asked.Asked:
    return asked.read({"bundle": str(bundle), "injected": list(parts), **record})


def write(bundle: Path, devices: list[Any], rules: list[Any], **more: Any) -> Path:
    linux = {"devices": devices, "resources": {"devices": rules}}
    (bundle / "config.json").write_text(json.dumps({"linux": linux, **more}))
    return bundle


NVIDIA0 = {"path": "/dev/nvidia0", "hostPath": "/root/dev/nvidia0"}
GIVEN = device("/dev/nvidia0", 195, 0)


@pytest.mark.parametrize(
    ("devices", "rules", "numbers", "access"),
    [
        ([GIVEN], [rule(195, 0, "rwm")], (195, 0), "rwm"),
        ([GIVEN], [rule(195, 0, "r"), rule(195, 0, "w")], (195, 0), "rw"),
        ([GIVEN], [rule(195, 0, "rw"), rule(195, 0, "m", allow=False)], (195, 0), "rw"),
        ([GIVEN], [rule(195, 1, "rw"), rule(195, None, "rw")], (195, 0), ""),
        ([GIVEN], [], (195, 0), ""),
        ([device("/dev/nvidia0", 511, 3, "u")], [rule(511, 3, "rw", type="u")], (511, 3), "rw"),
        ([device("/dev/nvidia0", 1, 3), GIVEN], [rule(195, 0, "rw")], (195, 0), "rw"),
        ([], [rule(195, 0, "rw")], None, ""),
        ([{"path": "/dev/nvidia0", "type": "c"}, None, 3], [None, 3], None, ""),
    ],
    ids=[
        *("usual", "two-rules", "denied", "wider", "none", "unbuffered"),
        *("twice", "mounted", "without-numbers"),
    ],
)
def test_node_and_its_rule(
    devices: list[Any],
    rules: list[Any],
    numbers: tuple[int, int] | None,
    access: str,
    tmp_path: Path,
) -> None:
    given = read(write(tmp_path, devices, rules), part(devices=[NVIDIA0]))

    assert given.nodes == (
        Node(
            path="/dev/nvidia0",
            host_path="/root/dev/nvidia0",
            kind="c",
            numbers=numbers,
            access=access,
        ),
    )
    assert given.doubt == ""


@pytest.mark.parametrize(
    ("permissions", "access"), [(None, "rwm"), ("rw", "rw"), ("none", "")], ids=str
)
def test_bundle_that_is_gone(permissions: str | None, access: str, tmp_path: Path) -> None:
    node = {"path": "/dev/nvidia0", "permissions": permissions}

    given = read(tmp_path / "gone", part(devices=[node]))

    (one,) = given.nodes
    assert (one.numbers, one.access, one.host_path) == (None, access, "/dev/nvidia0")
    assert given.doubt.startswith(f"{tmp_path}/gone/config.json: cannot read ")


def test_nodes_that_the_record_lacks_are_none_of_ours(tmp_path: Path) -> None:
    write(tmp_path, [GIVEN, device("/dev/fuse", 10, 229)], [rule(10, 229, "rwm")])

    given = read(tmp_path, part(devices=[NVIDIA0]))

    assert [node.path for node in given.nodes] == ["/dev/nvidia0"]


def test_engine_that_injected_by_itself(tmp_path: Path) -> None:
    """It wrote its own nodes and mounts beside those that a user wanted."""
    nodes = [GIVEN, device("/dev/fuse", 10, 229), device("/dev/dri/card0", 226, 0)]
    write(tmp_path, nodes, [rule(195, 0, "rw")])
    mounts = [
        {"source": "/home/me", "destination": "/home/me"},
        {"source": "/usr/lib/libcuda.so.1", "destination": "/usr/lib/libcuda.so.1"},
    ]
    own = {
        "device": "",
        "from": {"engine": "podman"},
        "edits": {"devices": nodes, "mounts": mounts},
    }

    given = read(tmp_path, own)

    assert [node.path for node in given.nodes] == ["/dev/dri/card0", "/dev/nvidia0"]
    assert [mount.destination for mount in given.mounts] == ["/usr/lib/libcuda.so.1"]


def test_mounts_variables_and_libraries(tmp_path: Path) -> None:
    libraries = [
        {"source": f"/usr/lib/{name}", "destination": f"/lib/{name}", "options": ["ro", "rbind"]}
        for name in ("libcuda.so.580.95.05", "libother.so.580.95.05")
    ]
    proc = {"source": "tmpfs", "destination": "/proc/driver/nvidia", "type": "tmpfs"}
    edits = {"mounts": [*libraries, proc], "env": ["A=b=c", "D="]}
    write(tmp_path, [], [])

    given = read(tmp_path, part(**edits), part(hooks={"createContainer": [HOOK]}))

    assert given.mounts == (
        Mount(
            destination="/lib/libcuda.so.580.95.05",
            source="/usr/lib/libcuda.so.580.95.05",
            is_bind=True,
        ),
        Mount(
            destination="/lib/libother.so.580.95.05",
            source="/usr/lib/libother.so.580.95.05",
            is_bind=True,
        ),
        Mount(destination="/proc/driver/nvidia", source="tmpfs", is_bind=False),
    )
    assert given.variables == {"A": "b=c", "D": ""}
    assert given.libraries == ("libcuda.so.1",)
    assert read(tmp_path, part(**edits)).libraries == ()


@pytest.mark.parametrize(
    ("record", "doubt"),
    [
        (
            {"mode": "legacy"},
            "in legacy mode nvidia-container-cli adds devices, which no record has",
        ),
        ({"cut": "1 of 2 sources of edits"}, "the record lacks 1 of 2 sources of edits"),
        ({}, ""),
    ],
)
def test_doubts(record: dict[str, str], doubt: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, [], []), **record).doubt == doubt


@pytest.mark.parametrize(
    "parts",
    [
        [None, 3, {}, {"edits": []}, {"edits": {"devices": 3, "mounts": {}, "env": "A=b"}}],
        [part(devices=[None, {}, {"path": 3}], mounts=[{"destination": 3}], hooks=3)],
    ],
)
def test_damaged_record_is_no_crash(parts: list[Any], tmp_path: Path) -> None:
    given = read(write(tmp_path, [], []), *parts)

    assert (given.nodes, given.mounts) == ((), ())


@pytest.mark.parametrize("linux", [None, [], {"resources": []}, {"resources": {"devices": 3}}])
def test_odd_config_json(linux: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"linux": linux}))

    assert [node.access for node in read(tmp_path, part(devices=[NVIDIA0])).nodes] == [""]
