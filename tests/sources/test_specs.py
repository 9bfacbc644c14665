# SPDX-License-Identifier: Apache-2.0
"""From names to edits, and device nodes as they are on this host."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from builders import Document, asking, cdi_spec, device
from shim import Site

from nvidia_runtime.admission import request
from nvidia_runtime.compile import config
from nvidia_runtime.compile import snapshot as compile
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.sources import specs as resolve
from nvidia_runtime.store import files
from nvidia_runtime.store.snapshot import Snapshot

NULL = {"type": "c", "major": 1, "minor": 3, "fileMode": 0o666}


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (("0",), ("nvidia.com/gpu=0",)),
        (("0", "amd.com/gpu=1", "0"), ("nvidia.com/gpu=0", "amd.com/gpu=1")),
        (("0", "nvidia.com/gpu=0"), ("nvidia.com/gpu=0",)),
        (("",), ("nvidia.com/gpu=none",)),
        (("", "none"), ("nvidia.com/gpu=none",)),
        (("a=b",), ("nvidia.com/gpu=a=b",)),
        (("a/b=",), ("nvidia.com/gpu=a/b=",)),
        (("MIG-GPU-1/2/3",), ("nvidia.com/gpu=MIG-GPU-1/2/3",)),
        ((), ()),
    ],
)
def test_qualify(devices: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert request.qualify(devices, "nvidia.com/gpu") == expected


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """Return a spec dir with two specs, each with edits of its own."""
    (tmp_path / "cdi").mkdir()
    gpus = cdi_spec(device("0"), device("1"), containerEdits={"env": ["SPEC=gpu"]})
    nics = {**cdi_spec(device("0"), containerEdits={"env": ["SPEC=nic"]}), "kind": "nvidia.com/nic"}
    for name, document in (("gpu", gpus), ("nic", nics)):
        (tmp_path / "cdi" / f"{name}.json").write_text(json.dumps(document))
    return tmp_path / "cdi"


@pytest.fixture
def snapshot(specs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Return a snapshot of the spec dir, on a machine that keeps none."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", "/proc/none")
    monkeypatch.setattr("posix.environ", {})
    file = tmp_path / "config.toml"
    file.write_text(f"[nvidia-container-runtime.modes.cdi]\nspec-dirs = ['{specs}']")
    return compile.registry(compile.settings(str(file)))


def env(names: tuple[str, ...], snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the name and the variable of each source."""
    return [(source.name, source.edits["env"][0]) for source in resolve.sources(names, snapshot)]


def test_edits_of_a_spec_come_once_before_its_first_device(snapshot: Snapshot) -> None:
    names = ("nvidia.com/gpu=1", "nvidia.com/nic=0", "nvidia.com/gpu=0")

    assert env(names, snapshot) == [
        ("", "SPEC=gpu"),
        ("nvidia.com/gpu=1", "GPU=1"),
        ("", "SPEC=nic"),
        ("nvidia.com/nic=0", "GPU=0"),
        ("nvidia.com/gpu=0", "GPU=0"),
    ]


def test_source_says_where_it_is_from(snapshot: Snapshot, specs: Path) -> None:
    sources = resolve.sources(("nvidia.com/gpu=0",), snapshot)

    assert {json.loads(source.origin)["file"] for source in sources} == {f"{specs}/gpu.json"}
    assert [json.loads(source.text) for source in sources] == [source.edits for source in sources]


def test_no_devices(snapshot: Snapshot) -> None:
    assert resolve.sources((), snapshot) == []


@pytest.mark.parametrize("name", ["nvidia.com/gpu=2", "nvidia.com/gpu=", "x", "a\tb", "a\nb"])
def test_unknown_device(name: str, snapshot: Snapshot) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        resolve.sources(("nvidia.com/gpu=0", name), snapshot)

    assert error.value.what.startswith(f"unresolvable CDI devices {name}; ")


def filled(**node: object) -> Document:
    """Complete a node from the host."""
    edits: Document = {"devices": [dict(node)]}
    resolve.fill_nodes(edits)
    entry: Document = edits["devices"][0]
    return entry


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param({}, NULL, id="nothing said"),
        pytest.param({"major": 195, "minor": 0}, NULL, id="numbers of another day"),
        pytest.param({"type": "c", "fileMode": 0o600}, {**NULL, "fileMode": 0o600}, id="a mode"),
        pytest.param({"type": "u"}, {**NULL, "type": "u"}, id="unbuffered is a character device"),
        pytest.param({"permissions": "r"}, {**NULL, "permissions": "r"}, id="permissions"),
    ],
)
def test_node_of_the_host(node: Document, expected: Document) -> None:
    assert filled(path="/dev/null", **node) == {"path": "/dev/null", **expected}


def test_node_by_another_name() -> None:
    assert filled(path="/dev/x", hostPath="/dev/null") == {"path": "/dev/x", **NULL}


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")

    assert filled(path="/dev/x", hostPath=f"{tmp_path}/link") == {"path": "/dev/x", **NULL}


def test_fifo_has_no_numbers(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo").chmod(0o640)

    node = filled(path=f"{tmp_path}/fifo")

    assert node == {"path": f"{tmp_path}/fifo", "type": "p", "fileMode": 0o640}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param({"type": "c", "major": 5}, {"minor": 0}, id="number"),
        pytest.param({"type": "b", "major": 5, "minor": 7}, {}, id="numbers"),
    ],
)
@pytest.mark.parametrize("path", ["/dev/absent", "/etc/passwd"])
def test_node_that_its_spec_describes_need_not_exist(
    path: str, node: Document, expected: Document
) -> None:
    assert filled(path=path, **node) == {"path": path, **node, **expected}


def test_pipe_need_not_exist() -> None:
    assert filled(path="/dev/absent", type="p")["type"] == "p"


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"path": "/dev/absent"}, "does not exist on this host"),
        (
            {"path": "/dev/absent", "type": "c", "major": 0},
            "does not exist on this host",
        ),
        (
            {"path": "/dev/absent", "major": 5},
            "does not exist on this host",
        ),
        ({"path": "/etc/passwd/x"}, "does not exist on this host"),
        ({"path": "/dev/a\0b"}, "cannot be looked up on this host: embedded null byte"),
        ({"path": "/etc/passwd"}, "is not a device node"),
        ({"path": "/dev"}, "is not a device node"),
        (
            {"path": "/dev/null", "type": "b"},
            "is a device node of type c, not b as its CDI spec says",
        ),
        (
            {"path": "/dev/null", "type": "p"},
            "is a device node of type c, not p as its CDI spec says",
        ),
    ],
)
def test_node_that_cannot_be_injected(node: Document, says: str) -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        filled(**node)

    assert str(error.value) == f"{node['path']}: {says}"
    assert error.value.hint == "generate the CDI spec anew, or load the driver that makes the node"


def test_edits_without_nodes() -> None:
    edits: Document = {"env": ["A=1"]}

    resolve.fill_nodes(edits)

    assert edits == {"env": ["A=1"]}


def test_default_kind_is_a_setting() -> None:
    assert config.defaults()[request.DEFAULT_KIND] == "nvidia.com/gpu"


def test_snapshot_that_lacks_a_spec_is_compiled_anew() -> None:
    with Site() as site:
        site.write_specs(nvidia=cdi_spec())
        site.write_bundle(asking("0"))
        site.settle()
        assert site.create().code == 0
        (snapshot,) = site.snapshots()
        snapshot.write_bytes(snapshot.read_bytes().replace(b"\n@", b"\n%"))
        site.write_bundle(asking("0"))

        got = site.create()

        assert (got.code, got.err, got.runtime) == (0, "", "runc")
        assert b"\n@" in site.snapshots()[0].read_bytes()
