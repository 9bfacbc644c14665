# SPDX-License-Identifier: Apache-2.0
"""Engines that inject CDI devices by themselves: no hook runs, and all is as if we had done it.

docker reads CDI specs since version 25, containerd for pods since 1.7: Debian 12 has podman's 4.3.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import simulated
import waiting
from cli import ctk
from engines import podman, processes
from engines.bundles import Bundles
from engines.installed import require

from . import images, sight
from .boxes import Change, box
from .site import Site

Document = dict[str, Any]
FOLDER = "/usr/lib/x86_64-linux-gnu"
HOOK = "nvidia-cdi-hook"
ETC = "/etc/cdi"


@pytest.fixture(scope="module")
def cdi(site: Site) -> Iterator[Document]:
    """Write a spec of the machine, hook by hook as the toolkit's, to where engines look."""
    path = f"PYTHONPATH={simulated.TREE}"
    words = ("env", path, sys.executable, "-c", ctk.PROGRAM, "--quiet", "cdi", "generate")
    flags = (
        f"--nvidia-cdi-hook-path={site.shim.parent}/{HOOK}",
        "--feature-flag=no-additional-gids-for-device-nodes",
        "--format=json",
    )
    text = site.succeed(*words, *flags)
    folder = site.path(ETC)
    folder.mkdir(exist_ok=True)
    (folder / "nvidia.json").write_text(text)
    document: Document = json.loads(text)
    document["containerEdits"]["hooks"] = [*document["containerEdits"]["hooks"]]
    assert len(document["containerEdits"]["hooks"]) > 3
    yield document
    (folder / "nvidia.json").unlink()


def by_hand(cdi: Document, *, env: bool = True, stage: str = "createContainer") -> Change:
    """Return a change that does what an engine does for the device all of a CDI spec."""
    (device,) = [one for one in cdi["devices"] if one["name"] == "all"]

    def change(spec: Document) -> None:
        for edits in (cdi["containerEdits"], device["containerEdits"]):
            spec["process"]["env"] += edits.get("env", []) if env else []
            for node in edits.get("deviceNodes", []):
                numbers = {"type": "c", "major": node["major"], "minor": node.get("minor", 0)}
                entry = {"path": node["path"], **numbers, "fileMode": node["fileMode"]}
                spec["linux"].setdefault("devices", []).append(entry)
                rule = {"allow": True, **numbers, "access": "rwm"}
                spec["linux"]["resources"]["devices"].append(rule)
            for mount in edits.get("mounts", []):
                entry = {"destination": mount["containerPath"], "source": mount["hostPath"]}
                spec["mounts"].append({**entry, "type": "bind", "options": mount["options"]})
            for hook in edits.get("hooks", []):
                entry = {key: value for key, value in hook.items() if key != "hookName"}
                spec.setdefault("hooks", {}).setdefault(stage, []).append(entry)

    return change


@pytest.mark.parametrize("stage", ["createContainer", "createRuntime"])
@pytest.mark.parametrize("program", ["runc", "crun"])
def test_no_hook_of_an_engine_runs(
    program: str, stage: str, site: Site, cdi: Document, request: pytest.FixtureRequest
) -> None:
    live: Bundles = request.getfixturevalue(program)
    change = by_hand(cdi, stage=stage)
    with box(
        site, live, live.runtime, images.get("bookworm"), gpus="void", change=change
    ) as container:
        config = container.config()
        assert container.hooks() == [], container.failure
        nodes = [node["path"] for node in config["linux"]["devices"]]
        assert len(nodes) == len(set(nodes))
        wanted = sight.libraries(config, site.path("/"))
        assert len(wanted) > 30
        assert wanted.keys() <= sight.cache(container.tell).keys()
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}
        assert container.tell("ls", "/dev/nvidia0", "/dev/nvidiactl")
        total = len(container.asked["hooks"][stage])
        assert f"{total} of {total} hooks" in "\n".join(container.reasons())
        said = site.explain(container.id)
        assert "injected by the engine itself (CDI)\n  guess   nvidia.com/gpu=" in said
        assert "\n  driver  5" in said
        assert "\n  device  /dev/nvidia0\n" in said
        assert "/dev/shm" not in said


def test_programs_find_the_same_as_by_the_hooks(site: Site, runc: Bundles, cdi: Document) -> None:
    seen = {}
    for setting in ("auto", "toolkit"):
        runtime = site.runtime(f"native-{setting}", require("runc"), in_container_hooks=setting)
        with box(
            site, runc, runtime, images.get("bookworm"), gpus="void", change=by_hand(cdi)
        ) as container:
            assert bool(container.hooks()) == (setting == "toolkit"), container.failure
            listed = sight.cache(container.tell)
            leads = sight.targets(container.tell, {paths[0] for paths in listed.values()})
            seen[setting] = {name: leads[paths[0]] for name, paths in listed.items()}

    assert seen["auto"] == seen["toolkit"]


def test_engine_and_variable_at_once(site: Site, runc: Bundles, cdi: Document) -> None:
    """Nothing is there twice, and the record tells who asked for what."""
    change = by_hand(cdi, env=False)
    with box(
        site, runc, runc.runtime, images.get("bookworm"), gpus="all", change=change
    ) as container:
        config = container.config()
        assert container.hooks() == [], container.failure
        nodes = [node["path"] for node in config["linux"]["devices"]]
        mounts = [mount["destination"] for mount in config["mounts"]]
        rules = [json.dumps(rule) for rule in config["linux"]["resources"]["devices"]]
        for entries in (nodes, mounts, rules):
            assert len(entries) == len(set(entries))
        wanted = sight.libraries(config, site.path("/"))
        assert set(sight.loads(container.tell, wanted).values()) == {"loads"}
        record = site.record(container.id)
        assert record["requested"] == ["all"]
        assert "engine" in record["injected"][0]["from"]
        assert len(record["injected"]) > 1


def test_old_numbers_of_an_engine_are_put_right(site: Site, runc: Bundles, cdi: Document) -> None:
    """A spec that says them all is taken at its word by engines, long after a boot."""

    now = os.stat(site.path("/dev/nvidia-uvm")).st_rdev

    def change(spec: Document) -> None:
        by_hand(cdi)(spec)
        for entry in [*spec["linux"]["devices"], *spec["linux"]["resources"]["devices"]]:
            if entry.get("major") == os.major(now):
                entry["major"] = 120

    with box(
        site, runc, runc.runtime, images.get("bookworm"), gpus="void", change=change
    ) as container:
        said = container.tell("stat", "-c", "%t", "/dev/nvidia-uvm")
        assert int(said, 16) == os.major(now)
        assert '"major": 120' in json.dumps(container.asked["linux"])
        assert '"major": 120' not in json.dumps(container.config()["linux"])
        assert "/dev/nvidia-uvm is " in site.explain(container.id)


@contextmanager
def podman_box(
    site: Site, name: str, group: str, *options: str
) -> Iterator[tuple[Document, sight.Tell, str]]:
    """Start a container by podman; yield its config.json, a way in, and its id."""
    require("podman")
    require("conmon")
    runtime = site.runtime(f"podman-{name}", require("runc"))
    folder = site.scratch / f"podman-{name}"
    root = folder / "rootfs"
    root.mkdir(parents=True)
    site.succeed("cp", "-a", f"{images.get('bookworm')}/.", root)
    (folder / "containers.conf").write_text(podman.CONFIG)
    words = (
        *site.enter, "env", f"CONTAINERS_CONF={folder}/containers.conf", f"HOME={folder}",
        "podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--tmpdir",
        f"{folder}/tmp", "--storage-driver=vfs", "--runtime", os.fspath(runtime.path),
    )  # fmt: skip
    run = (*words, "run", "--detach", "--network=none", f"--cgroup-parent=/{group}", *options)
    container = processes.succeed([*run, "--rootfs", os.fspath(root), "sleep", "1000"]).strip()
    (file,) = (folder / "root").rglob(f"{container}/userdata/config.json")
    conmon = processes.succeed([*words, "inspect", "--format={{.ConmonPidFile}}", container])
    monitor = Path("/proc", site.path(conmon.strip()).read_text())
    try:
        yield (
            json.loads(file.read_text()),
            lambda *command: processes.succeed([*words, "exec", container, *command]),
            container,
        )
    finally:
        processes.succeed([*words, "rm", "--force", "--time=0", container])
        waiting.eventually(lambda: not monitor.exists(), "conmon has left its control group")


@pytest.mark.parametrize("device", ["nvidia.com/gpu=0", "nvidia.com/gpu=all"])
def test_podman(device: str, site: Site, cdi: Document, group: str) -> None:
    assert cdi["cdiVersion"] <= "0.5.0"
    name = device.rpartition("=")[2]
    with podman_box(site, name, group, "--device", device) as (config, tell, container):
        assert [hook["path"] for stage in config.get("hooks", {}).values() for hook in stage] == []
        wanted = sight.libraries(config, site.path("/"))
        assert len(wanted) > 30
        assert wanted.keys() <= sight.cache(tell).keys()
        assert set(sight.loads(tell, wanted).values()) == {"loads"}
        assert config["linux"]["devices"]
        said = site.explain(container)
        assert "injected by podman itself (CDI)\n  guess   nvidia.com/gpu=" in said
        assert "requested  nothing" in said
        assert " hooks that the engine injected are done here" in said


def test_podman_and_a_variable(site: Site, cdi: Document, group: str) -> None:
    """The spec's void would take the user's word back, so this one lacks it, as old ones do."""
    file = site.path(ETC) / "nvidia.json"
    before = file.read_text()
    common = {key: value for key, value in cdi["containerEdits"].items() if key != "env"}
    file.write_text(json.dumps({**cdi, "containerEdits": common}))
    options = ("--device", "nvidia.com/gpu=all", "--env", "NVIDIA_VISIBLE_DEVICES=all")
    try:
        with podman_box(site, "both", group, *options) as (config, tell, container):
            assert config.get("hooks", {}).get("createContainer", []) == []
            nodes = [node["path"] for node in config["linux"]["devices"]]
            mounts = [mount["destination"] for mount in config["mounts"]]
            assert len(nodes) == len(set(nodes))
            assert len(mounts) == len(set(mounts))
            wanted = sight.libraries(config, site.path("/"))
            assert set(sight.loads(tell, wanted).values()) == {"loads"}
            said = site.explain(container)
            assert "injected by podman itself (CDI)" in said
            assert "requested  all by environment" in said
    finally:
        file.write_text(before)
