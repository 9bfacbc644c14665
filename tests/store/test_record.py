# SPDX-License-Identifier: Apache-2.0
"""The record of an injection."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime import start
from nvidia_runtime.admission.policy import Admitted
from nvidia_runtime.oci.argv import Invocation
from nvidia_runtime.store import files, record
from nvidia_runtime.store.lines import Source


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of records on a machine of our own."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", str(tmp_path / "state"))
    return tmp_path / "state" / "containers"


def create(container: str = "c1", bundle: str = "/b") -> Invocation:
    invocation = Invocation([])
    invocation.container = container
    invocation.bundle = bundle
    return invocation


def write(
    container: str = "c1",
    bundle: str = "/b",
    device: str = "nvidia.com/gpu=0",
    text: str = '{"env":["A=1"]}',
    spec: dict[str, Any] | None = None,
) -> None:
    admitted = Admitted(("0",), "environment")
    admitted.mode = "cdi"
    admitted.refusals = ["ignoring that"]
    source = Source(device, '{"file":"/etc/cdi/x.json","sha256":"00"}', text)
    decision = {**admitted.decision(), "prepared": ["made 2 links"]}
    record.write(create(container, bundle), spec or {}, decision, [source])


def test_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laps = [("", 1000), ("start", 2000)]
    monkeypatch.setattr(start, "LAPS", laps)

    write()

    assert json.loads((folder / "c1.json").read_text()) == {
        "container": "c1",
        "bundle": "/b",
        "root": "",
        "labels": {},
        "mode": "cdi",
        "requested": ["0"],
        "by": "environment",
        "refused": ["ignoring that"],
        "warnings": [],
        "prepared": ["made 2 links"],
        "laps": [["", 1000], ["start", 2000]],
        "injected": [
            {
                "device": "nvidia.com/gpu=0",
                "from": {"file": "/etc/cdi/x.json", "sha256": "00"},
                "edits": {"env": ["A=1"]},
            }
        ],
    }


@pytest.mark.parametrize(
    ("annotations", "labels"),
    [
        (None, {}),
        ([], {}),
        ({"a": "b", "nerdctl/name": 1}, {}),
        ({"nerdctl/name": "web", "a": "b"}, {"nerdctl/name": "web"}),
        ({"nerdctl/name": "x" * 300}, {"nerdctl/name": "x" * 200 + "…"}),
        ({"io.container.manager": "libpod"}, {"io.container.manager": "libpod"}),
    ],
    ids=["none", "a list", "no string", "nerdctl", "an endless name", "podman without conmon"],
)
def test_names_of_a_container(annotations: Any, labels: dict[str, str], folder: Path) -> None:
    write(spec={"annotations": annotations})

    assert json.loads((folder / "c1.json").read_text())["labels"] == labels


def test_nobody_else_reads_it(folder: Path) -> None:
    write()

    modes = [path.stat().st_mode & 0o777 for path in (folder, folder / "c1.json")]
    assert modes == [0o700, 0o600]
    assert os.listdir(folder) == ["c1.json"]


def test_younger_record_replaces_an_older_one(folder: Path) -> None:
    write(bundle="/old")
    write(bundle="/new")

    assert json.loads((folder / "c1.json").read_text())["bundle"] == "/new"


def test_bundle_is_the_working_directory_if_none_was_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    write(bundle="")

    assert json.loads((folder / "c1.json").read_text())["bundle"] == str(tmp_path)


@pytest.mark.parametrize("container", ["", ".", "..", ".c1", "a/b", "../c1", "a b", "a\0", "é"])
def test_what_is_no_id_of_runc_names_no_file(container: str, folder: Path) -> None:
    write(container)

    assert not folder.exists()


@pytest.mark.parametrize("container", ["a", "A-1_2+3.4", "x" * 200])
def test_ids_of_runc(container: str, folder: Path) -> None:
    write(container)

    assert os.listdir(folder) == [f"{container}.json"]


def test_folder_that_cannot_be_made_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("in the way")
    monkeypatch.setattr(files, "SYSTEM_FOLDER", str(tmp_path / "state"))
    monkeypatch.setattr("posix.environ", {})

    write()

    assert os.listdir(tmp_path) == ["state"]


def test_name_that_is_too_long_leaves_nothing(folder: Path) -> None:
    write("x" * 300)

    assert os.listdir(folder) == []


def test_leftover_of_a_killed_process_is_no_obstacle(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f".c1.json.{os.getpid()}").symlink_to("elsewhere")

    write()

    assert os.listdir(folder) == ["c1.json"]


def test_full_disk_leaves_the_record_that_was_there(folder: Path) -> None:
    write(bundle="/old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        write(bundle="/new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert os.listdir(folder) == ["c1.json"]
    assert json.loads((folder / "c1.json").read_text())["bundle"] == "/old"


def test_prune_keeps_the_youngest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MOST", 2)
    for age, name in enumerate(["youngest", "younger", "old", "oldest"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))

    record.prune(str(tmp_path))

    assert sorted(os.listdir(tmp_path)) == ["younger", "youngest"]


def test_records_are_bounded_whatever_the_process_id(folder: Path) -> None:
    """In a PID namespace of its own every create may have the same."""
    for number in range(2 * record.MOST):
        write(f"c{number}")

    assert len(os.listdir(folder)) < record.MOST + 900  # by chance, one of 2^20


def test_records_are_bounded_by_their_bytes(folder: Path) -> None:
    for number in range(60):
        write(f"c{number}", text=json.dumps({"env": [f"A={'x' * 500_000}"]}))

    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert 15 << 20 < sum(sizes) <= record.MOST_BYTES


def test_prune_forgets_the_old_and_what_killed_processes_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("new.json", "old.json", ".c1.json.4000001"):
        (tmp_path / name).touch()
    old = time.time() - record.OLDEST - 1
    os.utime(tmp_path / "old.json", (old, old))

    record.prune(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".c1.json.4000001", "new.json"]

    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 61)
    record.prune(str(tmp_path))
    assert os.listdir(tmp_path) == ["new.json"]


def test_what_a_container_says_is_repeated_up_to_a_limit(folder: Path) -> None:
    admitted = Admitted(tuple(f"d{number}" for number in range(70)), "environment")
    admitted.refusals = ["x" * 4_000_000]
    record.write(create(), {}, {**admitted.decision(), "prepared": ["y" * 4_000_000]}, [])

    said = json.loads((folder / "c1.json").read_text())
    assert said["requested"][-2:] == ["d63", "and 6 more"]
    assert said["refused"] == ["x" * 1000 + "…"]
    assert said["prepared"] == ["y" * 1000 + "…"]


def test_edits_that_are_cut_are_counted(folder: Path) -> None:
    sources = [
        Source(f"a.b/c={number}", "null", json.dumps({"env": [f"A={'x' * 200_000}"]}))
        for number in range(5)
    ]
    record.write(create(), {}, {"mode": "cdi"}, sources)

    said = json.loads((folder / "c1.json").read_text())
    assert [part["device"] for part in said["injected"]] == ["a.b/c=0", "a.b/c=1"]
    assert said["cut"] == "3 of 5 sources of edits"


def test_prune_of_few_records(tmp_path: Path) -> None:
    (tmp_path / "one").touch()

    record.prune(str(tmp_path))

    assert os.listdir(tmp_path) == ["one"]
