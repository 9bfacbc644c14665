# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk explain: what was injected into a container, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import shim
from builders import asking, cdi_spec, device
from shim import Ended, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "from nvidia_runtime.cli import main; main()"


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a machine with two GPUs on which container c1 has been created."""
    with Site() as machine:
        machine.write_specs(gpus=cdi_spec(device("0"), device("1")))
        machine.write_bundle(asking("0"))
        assert machine.create("c1").code == 0
        yield machine


def explain(site: Site, *words: str) -> Ended:
    """Run nvidia-ctk of the tree."""
    env = {**site.environment, "PYTHONPATH": str(shim.TREE)}
    return shim.end(site.execute([sys.executable, "-c", PROGRAM, "explain", *words], env=env))


def test_says_what_a_container_got_and_from_where(site: Site) -> None:
    got = explain(site, "c1")

    lines = got.out.decode().splitlines()
    assert (got.code, got.err) == (0, "")
    assert lines[:4] == [
        "container  c1",
        f"bundle     {site.bundle}",
        "mode       cdi",
        "requested  0 by environment",
    ]
    assert any(line.startswith(f"nvidia.com/gpu=0  from {site.specs}/gpus.json") for line in lines)


def test_record_itself(site: Site) -> None:
    record = json.loads(explain(site, "c1", "--json").out)

    assert record["requested"] == ["0"]


def test_beginning_of_an_id_is_enough(site: Site) -> None:
    site.write_bundle(asking("1"))
    site.create("other")

    assert explain(site, "oth").out.startswith(b"container  other\n")
    assert set(explain(site).out.split()) == {b"c1", b"other"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x"], "nvidia-ctk: there is no record of a container 'x'\n"),
        (["c"], "nvidia-ctk: 'c' is the beginning of 2 ids: "),
    ],
    ids=["unknown", "ambiguous"],
)
def test_errors(words: list[str], says: str, site: Site) -> None:
    site.write_bundle(asking("1"))
    site.create("c2")

    got = explain(site, *words)

    assert (got.code, got.out) == (1, b"")
    assert got.err.startswith(says)


@pytest.mark.parametrize("text", ["{", "[]"], ids=["no-json", "no-object"])
def test_damaged_record_is_named(text: str, site: Site) -> None:
    file = site.state / "containers" / "c1.json"
    file.write_text(text)

    got = explain(site, "c1")

    assert got.code == 1
    assert got.err.startswith("nvidia-ctk: ")
    assert "c1.json: is not a record: " in got.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_user_without_a_state_folder_has_no_records() -> None:
    """Files in the working directory are not read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        os.mkdir(f"{folder}/containers")
        with open(f"{folder}/containers/c1.json", "w") as file:
            file.write("{}")

        words = [sys.executable, "-c", PROGRAM, "explain"]
        env = {"PYTHONPATH": str(shim.TREE)}
        options: dict[str, Any] = {"cwd": folder, "env": env, "user": 65534, "text": True}
        try:
            listed = subprocess.run(words, capture_output=True, check=False, **options)
        except PermissionError:
            pytest.skip(f"another user cannot run {sys.executable}")
        if "No module named" in listed.stderr:
            pytest.skip("another user cannot read the package")
        asked = subprocess.run([*words, "c1"], capture_output=True, check=False, **options)

    assert (listed.returncode, listed.stdout) == (0, "")
    assert asked.returncode == 1
    assert "these are the records of user 65534" in asked.stderr
