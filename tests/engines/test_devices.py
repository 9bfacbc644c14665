# SPDX-License-Identifier: Apache-2.0
"""A container sees the devices that it asked for, exactly, and the kernel refuses it the others."""

from __future__ import annotations

import errno
import os

import pytest

from .engine import Engine
from .sight import PROBE, Node, Sight, parse

CONTROL = Node(path="/dev/nvidiactl", major=120, minor=255, mode=0o640)
FIRST = Node(path="/dev/nvidia0", major=120, minor=0, mode=0o666)
SECOND = Node(path="/dev/nvidia1", major=120, minor=1, mode=0o660)
LIBRARIES = {
    "/usr/lib/x86_64-linux-gnu/libcuda.so.999.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.999.1",
}
GRANTED = os.strerror(errno.ENXIO)  # the cgroup let it pass, and no driver has the number
REFUSED = os.strerror(errno.EPERM)


def look(engine: Engine, gpus: str | None) -> Sight:
    """Run a container that looks around."""
    done = engine.run("sh", "-c", PROBE, gpus=gpus)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


@pytest.fixture(scope="module")
def plain(live_engine: Engine) -> Sight:
    """What a container sees that asks for no GPU."""
    return look(live_engine, None)


@pytest.mark.parametrize(
    ("gpus", "nodes", "mounts", "opened"),
    [
        pytest.param(
            "all",
            {CONTROL, FIRST, SECOND},
            LIBRARIES | {"/usr/share/nvidia/gpu0.txt", "/usr/share/nvidia/gpu1.txt"},
            {0: GRANTED, 1: GRANTED, 255: GRANTED},
            id="all",
        ),
        pytest.param(
            "0",
            {CONTROL, FIRST},
            LIBRARIES | {"/usr/share/nvidia/gpu0.txt"},
            {0: GRANTED, 1: REFUSED, 255: GRANTED},
            id="first",
        ),
        pytest.param(
            "1",
            {CONTROL, SECOND},
            LIBRARIES | {"/usr/share/nvidia/gpu1.txt"},
            {0: REFUSED, 1: GRANTED, 255: GRANTED},
            id="second",
        ),
    ],
)
def test_container_sees_what_it_asked_for(
    engine: Engine,
    plain: Sight,
    gpus: str,
    nodes: set[Node],
    mounts: set[str],
    opened: dict[int, str],
) -> None:
    sight = look(engine, gpus)

    assert sight.nodes - plain.nodes == nodes
    assert sight.mounts.keys() - plain.mounts.keys() == mounts
    assert sight.opened == opened
    assert plain.nodes <= sight.nodes
    assert plain.mounts.keys() <= sight.mounts.keys()
    for point in mounts:
        assert sight.mounts[point] >= {"ro", "nosuid", "nodev"}
    assert sight.files == {point: f"this is {os.path.basename(point)}" for point in mounts}
    assert sight.env["NVCR_TEST"] == "injected"
    assert sight.env["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_container_without_gpus_sees_none(plain: Sight) -> None:
    assert [node for node in plain.nodes if "nvidia" in node.path] == []
    assert [point for point in plain.mounts if "nvidia" in point or "libcuda" in point] == []
    assert plain.opened == {0: REFUSED, 1: REFUSED, 255: REFUSED}
    assert plain.files == {}
    assert "NVCR_TEST" not in plain.env


@pytest.mark.parametrize("gpus", ["7", "0,7"])
def test_unknown_device_is_named_in_the_engines_own_error(engine: Engine, gpus: str) -> None:
    failed = engine.run("true", gpus=gpus)

    assert failed.returncode != 0
    assert "unresolvable CDI devices nvidia.com/gpu=7" in failed.stderr
    assert engine.containers() == []
