# SPDX-License-Identifier: Apache-2.0
"""Creates that fail: the record that they leave, and that it never is in the way of the error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import asking, cdi_spec, device, spec
from shim import Site

from nvidia_runtime import start
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.oci.argv import Invocation
from nvidia_runtime.sources import failure
from nvidia_runtime.store import files


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as machine:
        machine.write_specs(gpus=cdi_spec(device("0")))
        yield machine


def failed(site: Site, name: str = "c1") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((site.state / "failed" / f"{name}.json").read_text())
    return document


CASES = {
    "a device that there is not": (asking("7"), "", ["7"], "environment", "nvidia.com/gpu=7"),
    "an annotation": (
        spec(annotations={"cdi.k8s.io/x": "nvidia.com/gpu=7"}),
        "",
        ["nvidia.com/gpu=7"],
        "annotations",
        "nvidia.com/gpu=7",
    ),
    "a broken config.toml": (asking("0"), "=", ["0"], "environment", "config.toml"),
    "a broken config.json": ([], "", [], "", "must be a JSON object"),
    "a field of a wrong type": (
        {**asking("0"), "process": {"env": [1]}},
        "",
        [],
        "",
        "must be a list of strings",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_failure_is_recorded(name: str, site: Site) -> None:
    document, config, requested, by, says = CASES[name]
    site.write_bundle(document)
    if config:
        site.write_config(config)

    got = site.create("c1")

    record = failed(site)
    assert (got.code, got.runtime) == (1, "")
    assert says in record["failure"]["error"]
    # The very words that the engine was told.
    assert got.err.splitlines()[0].endswith(record["failure"]["error"])
    assert got.err.splitlines()[1] == f"hint: {record['failure']['hint']}"
    assert (record["requested"], record["by"]) == (requested, by)
    assert (record["container"], record["bundle"]) == ("c1", str(site.bundle))
    assert not (site.state / "containers").exists()


def test_no_low_level_runtime(site: Site) -> None:
    """The exit code stays that of a shell."""
    site.write_config('nvidia-container-runtime.runtimes = ["/nowhere"]\n')
    site.write_bundle(asking("0"))

    assert site.create("c1").code == 127
    assert failed(site)["failure"]["error"].startswith("no low-level runtime found")


def test_values_of_variables_are_no_part_of_it(site: Site) -> None:
    document = asking("7")
    document["process"]["env"].append("NVIDIA_TOKEN=secret")
    document["process"]["env"].append("PASSWORD=secret")
    site.write_bundle(document)

    site.create("c1")

    assert "secret" not in (site.state / "failed" / "c1.json").read_text()


@pytest.mark.parametrize("kind", ["a file", "a link to nothing"])
def test_record_that_cannot_be_written_changes_nothing(kind: str, site: Site) -> None:
    site.write_bundle(asking("7"))
    before = site.create("c1")
    folder = site.state / "failed"
    (folder / "c1.json").unlink()
    folder.rmdir()
    if kind == "a file":
        folder.touch()
    else:
        folder.symlink_to("/nowhere/at/all")

    after = site.create("c1")

    assert (after.code, after.out, after.err) == (before.code, before.out, before.err)


def test_record_that_would_fail_by_itself_changes_nothing(site: Site) -> None:
    """Whatever is wrong with what writes it: the engine has been told already."""
    site.write_bundle(asking("7"))
    before = site.create("c1")
    code = 'import sys; sys.modules["nvidia_runtime.sources.failure"] = None\n'

    after = site.probe(code, "create", "--bundle", site.bundle, "c1")

    assert (after.code, after.out, after.err) == (before.code, before.out, before.err)


def test_running_container_keeps_its_record(site: Site) -> None:
    """By its id another create fails: what it has got counts."""
    root = site.folder / "states"
    (root / "c1").mkdir(parents=True)
    with open(f"/proc/{os.getpid()}/stat", encoding="utf-8") as file:
        started = int(file.read().rpartition(")")[2].split()[19])
    state = {"init_process_pid": os.getpid(), "init_process_start": started}
    (root / "c1/state.json").write_text(json.dumps(state))
    site.write_bundle(asking("7"))
    words = ("--root", root, "create", "--bundle", site.bundle)

    assert site.run(*words, "c1").code == 1
    assert site.run(*words, "c2").code == 1

    assert os.listdir(site.state / "failed") == ["c2.json"]


def test_other_calls_leave_none(site: Site) -> None:
    site.write_config('nvidia-container-runtime.runtimes = ["/nowhere"]\n')

    assert site.run("state", "c1").code == 127
    assert not (site.state / "failed").exists()


def test_failures_are_few_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They displace no other record, and the sentences are not endless."""
    monkeypatch.setattr(files, "SYSTEM_FOLDER", str(tmp_path / "state"))
    monkeypatch.setattr(failure, "MOST", 3)
    monkeypatch.setattr(start, "LAPS", [])  # those of tests before, in this process
    for number in range(5):
        invocation = Invocation([])
        invocation.container, invocation.bundle = f"c{number}", "/nowhere"
        failure.write(invocation, NvidiaRuntimeError("x" * 100_000, hint="y" * 100_000))

    left = list((tmp_path / "state/failed").iterdir())
    assert len(left) == 3
    assert all(path.stat().st_size < 4000 for path in left)
    assert not (tmp_path / "state/containers").exists()
