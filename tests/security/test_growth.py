# SPDX-License-Identifier: Apache-2.0
"""T20: whatever a container says, twice as much of it is at most twice the work.

The work is counted in executed lines; a search in a list, which is one line, shows in the time that
a lot of it takes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import builders
import pytest

from nvidia_runtime.admission import capabilities, image_policy, policy, request, requirements
from nvidia_runtime.admission.image import Image
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci import bundle, edit
from nvidia_runtime.prepare import decide as decide_hooks
from nvidia_runtime.prepare import node_filter, takeover, work
from nvidia_runtime.sources import native
from nvidia_runtime.store import record, snapshot

from .test_limits import within

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Made = Callable[[int], dict[str, Any]]

SIZES = (500, 1000)
MANY = 50_000
HOST = {"cuda": "12.2", "driver": "535.1.1", "arch": "8.0", "brand": "tesla"}
MOUNTS = "accept-nvidia-visible-devices-as-volume-mounts"
IMAGE = Image(
    frozenset({"NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_GDS=enabled"}), completed=frozenset("A")
)
EDIT = {
    "env": ["A=1"],
    "devices": [{"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}],
    "mounts": [{"source": "/s", "destination": "/a"}],
    "hooks": {"createContainer": [{"path": "/bin/true"}]},
    "additionalGids": [44],
    "netDevices": {"eth0": {"name": "a"}},
}


def listed(name: str, part: str = "{}") -> Made:
    """Make containers with a variable of a long list; each has a number in the place of braces."""
    return lambda count: builders.asking(
        "0", process={"env": [GPU, f"{name}=" + ",".join(map(part.format, range(count)))]}
    )


def of(**fields: Callable[[int], Any]) -> Made:
    """Make containers with a long field of config.json."""
    return lambda count: builders.asking("0", **{k: make(count) for k, make in fields.items()})


GPU = "NVIDIA_VISIBLE_DEVICES=0"
NATIVE = {"path": "/usr/bin/nvidia-cdi-hook"}
LINK = ("nvidia-cdi-hook", "create-symlinks", "--link")
ROOT = "/var/run/nvidia-container-devices"
DECIDED: dict[str, Made] = {
    "devices": listed("NVIDIA_VISIBLE_DEVICES"),
    "devices without a name": listed("NVIDIA_VISIBLE_DEVICES", ""),
    "qualified devices": listed("NVIDIA_VISIBLE_DEVICES", "nvidia.com/gpu={}"),
    "channels": listed("NVIDIA_IMEX_CHANNELS"),
    "channels that are none": listed("NVIDIA_IMEX_CHANNELS", "x{}"),
    "capabilities": listed("NVIDIA_DRIVER_CAPABILITIES", "c{}"),
    "requirements": listed("NVIDIA_REQUIRE_CUDA", "cuda>={}"),
    "alternatives": listed("NVIDIA_REQUIRE_CUDA", "cuda>=99 driver>={}"),
    "variables": lambda n: builders.asking(
        "0", process={"env": [GPU, *[f"V{i}=" for i in range(n)]]}
    ),
    "requirements of their own": lambda n: builders.asking(
        "0", process={"env": [GPU, *[f"NVIDIA_REQUIRE_{i}=driver>=1" for i in range(n)]]}
    ),
    "one variable": lambda n: builders.asking("0", process={"env": [GPU, *["A=2"] * n]}),
    "annotations": of(annotations=lambda n: {f"cdi.k8s.io/{i}": f"a.b/c={i}" for i in range(n)}),
    "one annotation": of(annotations=lambda n: {"cdi.k8s.io/x": ",".join(map(str, range(n)))}),
    "mounts": of(mounts=lambda n: [{"source": "/", "destination": f"/{i}"} for i in range(n)]),
    "one mount": of(mounts=lambda n: [{"source": "/", "destination": "/a"}] * n),
    "mounts that ask": of(
        mounts=lambda n: [{"source": "/dev/null", "destination": f"{ROOT}/{i}"} for i in range(n)]
    ),
    "mounts that ask in vain": of(
        mounts=lambda n: [
            {"source": "/dev/null", "destination": f"{ROOT}/cdi/{i}"} for i in range(n)
        ]
    ),
    "a deep mount": of(mounts=lambda n: [{"source": "/", "destination": "/a" * n}]),
    "groups": lambda n: builders.asking(
        "0", process={"env": [GPU], "user": {"additionalGids": [*range(100, 100 + n)]}}
    ),
    "mappings": of(
        linux=lambda n: {
            "namespaces": [{"type": "user"}],
            "gidMappings": [{"containerID": i, "hostID": i, "size": 1} for i in range(n)],
        }
    ),
    "devices of its own": of(
        linux=lambda n: {"devices": [{"path": f"/dev/{i}", "type": "p"} for i in range(n)]}
    ),
    "rules for devices": of(
        linux=lambda n: {"resources": {"devices": [{"allow": True, "minor": i} for i in range(n)]}}
    ),
    "nodes whose numbers changed": of(
        linux=lambda n: {
            "devices": [{"path": f"/d/{i}", "type": "c", "major": 1, "minor": i} for i in range(n)],
            "resources": {
                "devices": [{"allow": True, "type": "c", "major": 1, "minor": i} for i in range(n)]
            },
        }
    ),
    "rules for calls": of(
        linux=lambda n: {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": [f"c{i}", "x"], "action": "SCMP_ACT_LOG"} for i in range(n)],
            }
        }
    ),
    "hooks": of(hooks=lambda n: {"createContainer": [{"path": f"/{i}"} for i in range(n)]}),
    "hooks that an engine injected": of(
        hooks=lambda n: {
            "createContainer": [{**NATIVE, "args": [*LINK, f"a::/{i}"]} for i in range(n)]
        }
    ),
    "the prestart hook": of(
        hooks=lambda n: {"prestart": [{"path": "/nvidia-container-runtime-hook"}] * n}
    ),
}


def decide(document: dict[str, Any], edits: list[dict[str, Any]]) -> None:
    """Do with a container what a create does, in every mode, for images that are not trusted."""
    settings = {**config.defaults(), MOUNTS: True, snapshot.IMAGE_REQUESTS: "deny"}
    for mode in ("legacy", "csv", "cdi", "jit-cdi"):
        with contextlib.suppress(NvidiaRuntimeError):
            asked = request.read(document, settings, "config.json")
            admitted = policy.admit(asked, settings, mode)
            request.qualify(admitted.devices, "nvidia.com/gpu")
            record.limited(admitted.decision())
            policy.admit(image_policy.limit(asked, settings, IMAGE), settings, mode)
            requirements.judge(asked.environment, HOST, "warn")
            wanted = asked.environment.get(capabilities.VARIABLE)
            granted = capabilities.choose(wanted, "all", legacy_image=False)
            capabilities.warning(granted.unsupported, "all")
    edit.remove_hooks(document, ("nvidia-container-runtime-hook",), "config.json")
    node_filter.forbid(document)
    bundle.unmapped(document, [44])
    if hooks := decide_hooks.by_engine(document):
        how = work.Conditions("always", "runc", "/x", "")
        planned = takeover.plan([], document, "/", "config.json", how, hooks)
        edit.apply(document, planned.edits, "config.json")
        native.read(bundle.Bundle("/config.json", document, os.stat("/")), hooks, [])
    numbers = {node["path"]: (2, 0) for node in bundle.devices(document)}
    edit.apply(document, [*edits, {"numbers": numbers}], "config.json")


def lines_of(document: dict[str, Any], edits: list[dict[str, Any]]) -> int:
    """Count the lines of ours that are executed."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if event == "call" and "nvidia_runtime" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        decide(document, edits)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", DECIDED)
def test_t20_twice_as_much_is_twice_the_work(name: str) -> None:
    few, many = (lines_of(DECIDED[name](size), [EDIT]) for size in SIZES)

    assert many <= 2.2 * few


@pytest.mark.parametrize("name", DECIDED)
def test_t20_a_lot_ends_soon(name: str) -> None:
    """Where anything were compared with all the rest this would take minutes."""
    document = DECIDED[name](MANY)
    with within(5):
        decide(document, [EDIT])


def devices(count: int) -> list[dict[str, Any]]:
    """Return the edits of as many devices of CDI specs."""
    return [
        {
            "env": [f"D{number}=1"],
            "devices": [{"path": f"/dev/{number}", "type": "c", "major": 1, "minor": number}],
            "mounts": [{"source": "/s", "destination": f"/m/{number}"}],
            "hooks": {"createContainer": [{"path": f"/{number}"}]},
            "additionalGids": [number],
            "netDevices": {f"eth{number}": {"name": f"e{number}"}},
        }
        for number in range(count)
    ]


def test_t20_twice_as_many_devices_are_twice_the_work() -> None:
    few, many = (lines_of(builders.asking(), devices(size)) for size in SIZES)

    assert many <= 2.2 * few


def test_t20_all_devices_that_may_be_asked_for_are_edited_soon() -> None:
    with within(5):
        decide(builders.asking(), devices(10 * request.MOST_DEVICES))
