# SPDX-License-Identifier: Apache-2.0
"""What an engine injected by itself: what is noticed, put right and recorded."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import builders
import pytest
from shim import Site

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci.bundle import Bundle
from nvidia_runtime.prepare import decide
from nvidia_runtime.sources import native
from nvidia_runtime.store import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

Document = dict[str, Any]
FOLDER = "/usr/lib/x86_64-linux-gnu"
HOOK = {"path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "noop"], "env": ["A=b"]}
# Documentation/admin-guide/devices.txt has both for local use: no driver's of NVIDIA's.
MAJOR, OLD = 120, 121


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the nodes of a host, in a folder of our own in the place of its /dev."""
    monkeypatch.setattr(native, "NODES", f"{tmp_path}/nvidia")
    monkeypatch.setattr(native, "MAJORS", f"{tmp_path}/devices")
    text = f"Character devices:\n{OLD + 1} nvidia-uvm\n195 nvidia\n\nBlock devices:\n{OLD} nvidia\n"
    (tmp_path / "devices").write_text(text)
    try:
        for number, name in enumerate(("nvidia0", "nvidia-uvm")):
            os.mknod(tmp_path / name, stat.S_IFCHR, os.makedev(MAJOR, number))
    except PermissionError:
        pytest.skip("needs root and CAP_MKNOD to make device nodes")
    (tmp_path / "nvidia-file").write_text("")
    return tmp_path


def node(path: Path, major: object, minor: object = 0, kind: str = "c") -> Document:
    return {"path": str(path), "type": kind, "major": major, "minor": minor}


def read(*devices: Any, **fields: Any) -> tuple[native.Native, list[str]]:
    """Read what an engine injected; return it, and what is said of it."""
    warnings: list[str] = []
    spec = {"hooks": {"createContainer": [HOOK]}, "linux": {"devices": list(devices)}, **fields}
    bundle = Bundle("/x/config.json", spec, os.stat("/"))
    return native.read(bundle, decide.by_engine(spec), warnings), warnings


def test_right_numbers_stay(nodes: Path) -> None:
    source, warnings = read(
        node(nodes / "nvidia0", MAJOR), node(nodes / "nvidia-uvm", MAJOR, 1), node(nodes / "x", 1)
    )

    assert (source.edits, warnings) == ({}, [])


def test_node_under_another_name_stays(nodes: Path) -> None:
    """A spec may give GPU 3 to a container as its GPU 0: that is no mistake."""
    assert read(node(nodes / "nvidia0", MAJOR, 3))[0].edits == {}


@pytest.mark.parametrize("old", [OLD, None, "x"])
def test_old_numbers_become_the_hosts(old: object, nodes: Path) -> None:
    path = nodes / "nvidia-uvm"

    source, warnings = read(node(path, old, 7))

    assert source.edits == {"numbers": {str(path): (MAJOR, 1)}}
    said = f"{path} is {MAJOR}:1 on this host, the engine injected it as {old}:7"
    assert warnings == [said]


def test_node_of_another_folder_is_judged_by_its_driver(nodes: Path) -> None:
    """Those of a driver container are in its own /dev."""
    assert read(node(nodes / "nvidia-elsewhere", OLD + 1))[0].edits == {}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nvidia-gone", "does not exist on this host, but the engine injected it"),
        ("nvidia-file", "is not a device node on this host, but the engine injected it"),
        ("nvidia0/x", "does not exist on this host"),
        ("nvidia\0", "cannot be looked up on this host"),
    ],
)
def test_node_that_may_be_anybodys_is_an_error(name: str, says: str, nodes: Path) -> None:
    with pytest.raises(NvidiaRuntimeError, match=says) as raised:
        read({**node(nodes, OLD), "path": f"{nodes}/{name}"})

    assert str(raised.value).endswith(f"with a number that is no driver's of NVIDIA's: {OLD}")


def test_what_is_no_device_is_the_low_level_runtimes_to_judge(nodes: Path) -> None:
    assert read(node(nodes / "nvidia-gone", OLD, kind="p"), "x", {"path": 1})[0].edits == {}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_specs(nvidia=builders.cdi_spec())
        (machine.bundle / "rootfs/etc").mkdir(parents=True)
        yield machine


def injected(*env: str, **fields: Any) -> Document:
    """Make the config.json of an engine that injected a library and the hook that links it."""
    link = ["nvidia-cdi-hook", "create-symlinks", "--link", f"a::{FOLDER}/b"]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": f"{FOLDER}/libcuda.so.580.95.05", "source": "/etc/hostname"},
        {"destination": "/etc/hostname", "source": "/etc/hostname", "options": ["bind"]},
    ]
    return builders.spec(
        *env, hooks={"createContainer": [{**HOOK, "args": link}]}, mounts=mounts, **fields
    )


def record(site: Site) -> Document:
    document: Document = json.loads((site.state / "containers/c1.json").read_text())
    return document


def test_record_tells_the_engine_from_us(site: Site) -> None:
    annotations = {"io.container.manager": "libpod"}
    site.write_bundle(injected("NVIDIA_VISIBLE_DEVICES=0", annotations=annotations))

    assert site.create().code == 0

    by_engine, *ours = record(site)["injected"]
    assert by_engine["from"] == {"engine": "podman"}
    assert by_engine["edits"]["mounts"] == [
        {"source": "/etc/hostname", "destination": "/etc/hostname"}
    ]
    assert by_engine["edits"]["hooks"]["createContainer"][0]["args"][1] == "create-symlinks"
    assert record(site)["requested"] == ["0"]
    assert {part["from"].get("file") for part in ours} == {f"{site.specs}/nvidia.json"}
    said = record(site)["prepared"]
    assert said == ["1 of 1 hooks that the engine injected are done here", "made 1 links"]


def test_node_that_a_rootless_engine_mounted_is_there_once(site: Site) -> None:
    node = {"path": "/dev/x", "hostPath": "/dev/null"}
    site.write_specs(nvidia=builders.cdi_spec(builders.device("0", deviceNodes=[node])))
    document = injected("NVIDIA_VISIBLE_DEVICES=0")
    document["mounts"].append({"destination": "/dev/x", "source": "/dev/null"})
    site.write_bundle(document)

    assert site.create().code == 0

    after = site.read_bundle()
    assert "linux" not in after
    assert [mount["destination"] for mount in after["mounts"]].count("/dev/x") == 1


def test_record_of_an_engine_alone(site: Site) -> None:
    site.write_bundle(injected("NVIDIA_VISIBLE_DEVICES=void"))

    assert site.create().code == 0

    (part,) = record(site)["injected"]
    assert part["from"] == {"engine": ""}
    assert record(site)["requested"] == []
    assert os.readlink(site.bundle / f"rootfs{FOLDER}/b") == "a"


def test_record_where_hooks_stay(site: Site) -> None:
    site.write_config(in_container_hooks="toolkit")
    before = site.write_bundle(injected())

    assert site.create().code == 0

    assert (site.bundle / "config.json").read_bytes() == before
    assert [part["from"] for part in record(site)["injected"]] == [{"engine": ""}]


def executed(site: Site, document: Document) -> tuple[int, set[str]]:
    """Count the lines on hooks that a create executes; list the modules that it loads."""
    from nvidia_runtime import create, start
    from nvidia_runtime.compile import snapshot
    from nvidia_runtime.oci import argv

    compiled = snapshot.settings(str(site.config))
    invocation = argv.parse(["create", "--bundle", str(site.bundle), "c1"])
    site.write_bundle(document)
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if event == "call" and "nvidia_runtime/prepare/" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before, loaded = sys.gettrace(), set(sys.modules)
    sys.settrace(trace)
    try:
        with contextlib.suppress(NvidiaRuntimeError):
            create.inject(invocation, start.Launch("", "", "", "/x"), "runc", compiled, None)
    finally:
        sys.settrace(before)
    return count, set(sys.modules) - loaded


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is created in this process leave nothing in the host's /run."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", str(tmp_path))


@pytest.mark.usefixtures("own_state")
def test_container_without_such_hooks_costs_a_few_lines(site: Site) -> None:
    """docker's own hook for networks is in each of its containers."""
    other = {"path": "/proc/1/exe", "args": ["libnetwork-setkey", "x"]}
    executed(site, builders.spec())

    bare, more = executed(site, builders.spec())
    count, loaded = executed(site, builders.spec(hooks={"createRuntime": [other]}))

    assert bare <= 3
    assert count <= 8
    assert more == loaded == set()


def test_state_folder_is_not_needed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user without a runtime folder: there is no record then, and all else is done."""
    monkeypatch.setattr(files, "state_folder", lambda make=False: "")
    executed(site, injected())

    assert os.readlink(site.bundle / f"rootfs{FOLDER}/b") == "a"
    assert site.read_bundle()["hooks"] == {}
