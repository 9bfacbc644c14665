# SPDX-License-Identifier: Apache-2.0
"""NVIDIA_DRIVER_CAPABILITIES with compat32: the driver's libraries for Steam, Wine and Proton."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import simulated

from nvidia_runtime.compile import config
from nvidia_runtime.sources import find
from nvidia_runtime.store.snapshot import CAPABILITIES

from . import test_machine as machines
from .test_machine import SETTLE, create, job
from .test_renew import GENERATE

FOLDER = "/usr/lib/i386-linux-gnu"
MACHINE = "rtx5090"
ALL = "NVIDIA_VISIBLE_DEVICES=all"
BY_SPEC = "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0"
GPU = ["/dev/nvidia0"]
REQUESTED = '[nvidia-container-runtime.modes.jit-cdi]\ndriver-capabilities = "requested"\n'


def capabilities(value: str) -> str:
    return f"NVIDIA_DRIVER_CAPABILITIES={value}"


def libraries(end: dict[str, Any]) -> list[str]:
    """Return the names of the 32-bit libraries that a container gets."""
    places = [mount["destination"] for mount in end["spec"]["mounts"]]
    return [place[len(FOLDER) + 1 :] for place in places if place.startswith(f"{FOLDER}/")]


WANTED = {
    "says nothing": ((), 0),
    "asks for others": ((capabilities("compute,utility,graphics"),), 0),
    "asks for it": ((capabilities("compute,graphics,compat32"),), 21),
    "asks for all": ((capabilities("all"),), 21),
    "asks for it among blanks": ((capabilities(" compat32 , utility"),), 21),
    "an old image, which asks for nothing": (("CUDA_VERSION=8.0",), 0),
}


@pytest.mark.parametrize("mode", ["jit-cdi", "cdi"])
def test_who_asks_gets_them(mode: str, tmp_path: Path) -> None:
    """By the machine, and beside a spec that describes the driver of 64 bits alone."""
    asked = BY_SPEC if mode == "cdi" else ALL
    jobs = [job(asked, *variables, shell=SETTLE) for variables, _ in WANTED.values()]
    jobs[0]["shell"] = f"{GENERATE} && {SETTLE}" if mode == "cdi" else SETTLE

    ends = create(MACHINE, tmp_path, *jobs)

    assert [(end["code"], end["err"]) for end in ends] == [(0, "")] * len(jobs)
    counts = {name: len(libraries(end)) for name, end in zip(WANTED, ends, strict=True)}
    assert counts == {name: count for name, (_, count) in WANTED.items()}
    assert all(len(set(libraries(end))) == len(libraries(end)) for end in ends)
    assert all("/dev/nvidia0" in machines.paths(end) for end in ends)


def test_of_them_what_other_capabilities_ask_for(tmp_path: Path) -> None:
    asked = job(ALL, capabilities("utility,compat32"))

    (end,) = create(MACHINE, tmp_path, asked, settings=REQUESTED)

    names = {name.partition(".so")[0] for name in libraries(end)}
    assert "libnvidia-ml" in names
    assert {"libcuda", "libGLX_nvidia", "vdpau/libvdpau_nvidia"}.isdisjoint(names)


@pytest.mark.parametrize(
    ("value", "supported", "has"),
    [
        ("compat32", "compat32,compute", True),
        ("compute, compat32", "all", True),
        ("all", "compute,compat32", True),
        ("all", "compute,utility", False),
        ("compat32", "compute,utility", False),
        ("compat", "all", False),
        ("compat3264", "all", False),
        ("", "all", False),
    ],
)
def test_as_far_as_the_settings_support_it(value: str, supported: str, *, has: bool) -> None:
    settings = config.defaults() | {CAPABILITIES: supported}

    assert find._has_compat32({"NVIDIA_DRIVER_CAPABILITIES": value}, settings) == has


@pytest.mark.parametrize("name", ["t4x1", "orin", "wsl2"])
def test_machine_without_any_says_so(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [job(ALL, capabilities("compat32,utility")), job(ALL, capabilities("all"))]

    ends = create(name, tmp_path, *jobs, settings=f'debug = "{log}"\n')

    assert [libraries(end) for end in ends] == [[], []]
    assert log.read_text().count("gets no 32-bit libraries of the driver; this machine has") == 1


def test_packages_that_come_later_are_noticed(tmp_path: Path) -> None:
    asked = job(ALL, capabilities("compat32"), shell=SETTLE)
    away = f"mv {FOLDER} /tmp/nvcr-away; ldconfig; {SETTLE}"
    back = f"mv /tmp/nvcr-away {FOLDER}; ldconfig; {SETTLE}"

    ends = create(MACHINE, tmp_path, {**asked, "shell": away}, asked, {**asked, "shell": back})

    assert [len(libraries(end)) for end in ends] == [0, 0, 21]


def test_loader_finds_both(tmp_path: Path) -> None:
    """Done on the host: the links and the rows in the cache, for each kind of library."""
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if not ldconfig:
        pytest.skip("no ldconfig")
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    asked = job(ALL, capabilities("all"))
    asked["spec"]["root"] = {"path": str(root)}

    (end,) = create(MACHINE, tmp_path, asked, hooks="auto")

    assert (end["code"], end["err"]) == (0, "")
    words = [ldconfig, "-p", "-C", str(root / "etc/ld.so.cache")]
    rows = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    cuda = [row.split(" => ")[1] for row in rows if row.split()[:1] == ["libcuda.so.1"]]
    assert sorted(cuda) == [f"{FOLDER}/libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1"]
    link = root / f"{FOLDER[1:]}/libGLX_nvidia.so.0"
    assert str(link.readlink()) == "libGLX_nvidia.so.580.95.05"


def test_beside_what_an_engine_injects_by_itself(tmp_path: Path) -> None:
    """`podman --device nvidia.com/gpu=all` with our runtime: it reads no capabilities."""
    cuda = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"
    words = ["nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib/x86_64-linux-gnu"]
    jobs = [job(*variables) for variables in ((), (capabilities("all"),))]
    for one in jobs:
        one["spec"]["mounts"].append({"destination": cuda, "source": cuda, "options": ["bind"]})
        hook = {"path": "/usr/bin/nvidia-cdi-hook", "args": words}
        one["spec"]["hooks"] = {"createContainer": [hook]}

    ends = create(MACHINE, tmp_path, *jobs)

    assert [(end["code"], end["err"]) for end in ends] == [(0, ""), (0, "")]
    assert [len(libraries(end)) for end in ends] == [0, 21]


def spec(*words: str) -> dict[str, Any]:
    program = [sys.executable, "-m", "nvidia_runtime", "--quiet", "cdi", "generate"]
    got = simulated.run(MACHINE, [*program, "--format=json", *words], cwd=simulated.TREE)
    assert got.returncode == 0, got.stderr
    return dict(json.loads(got.stdout))


def test_spec_has_them_if_its_maker_wants_it(tmp_path: Path) -> None:
    """An engine that reads it knows nothing of capabilities: every container gets them then."""
    plain, both = spec(), spec("--feature-flag=enable-compat32-libraries")

    assert FOLDER not in json.dumps(plain)
    edits = both["containerEdits"]
    added = [one["containerPath"] for one in edits["mounts"] if FOLDER in one["containerPath"]]
    assert len(added) == 21
    hooks = [hook["args"][1] for hook in edits["hooks"]]
    assert hooks.count("update-ldcache") == 2
    assert both["devices"] == plain["devices"]


def test_spec_that_has_them_needs_no_more(tmp_path: Path) -> None:
    flag = "cdi generate --feature-flag=enable-compat32-libraries"
    generate = GENERATE.replace("cdi generate", flag)
    jobs = [job(BY_SPEC, shell=generate), job(BY_SPEC, capabilities("all"))]

    ends = create(MACHINE, tmp_path, *jobs)

    assert [len(libraries(end)) for end in ends] == [21, 21]
