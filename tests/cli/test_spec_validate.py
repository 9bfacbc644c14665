# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk spec validate: all errors of a config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import spec

from nvidia_runtime.cli import spec_validate

from . import ctk

EXAMPLES = Path(__file__).parents[1] / "examples" / "oci-config"


@pytest.mark.parametrize("words", [[], ["config.json"], ["."]], ids=["here", "file", "bundle"])
def test_good_file(words: list[str], tmp_path: Path) -> None:
    ctk.write(tmp_path / "config.json", spec("NVIDIA_VISIBLE_DEVICES=all"))

    got = ctk.run("spec", "validate", *words, cwd=tmp_path)

    assert (got.code, got.out) == (0, "")
    assert got.err.endswith("config.json: 0 errors\n")


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("bad/*.json")), ids=lambda file: file.name)
def test_all_errors_are_listed(file: Path) -> None:
    lines = [str(finding) for finding in spec_validate.of_file(str(file))]

    errors = [line for line in lines if line.startswith("error: ")]
    expected = file.with_suffix(".errors.txt").read_text().splitlines()
    assert errors == [f"error: {file}: {line}" for line in expected]


def test_what_the_runtime_refuses() -> None:
    document = spec(linux=[], mounts=["x"], annotations=5, hooks={"poststop": {}})
    document["process"]["env"] = "A=b"

    got = ctk.run("spec", "validate", "-", stdin=json.dumps(document))

    assert [line for line in got.lines() if line.startswith("note: ")] == [
        "note: stdin: process.env: nvidia-container-runtime refuses the container: must be a list, "
        "not a string",
        "note: stdin: linux: nvidia-container-runtime cannot inject devices: must be an object, not "
        "a list",
        "note: stdin: mounts[0]: nvidia-container-runtime cannot inject devices: must be an object, "
        "not a string",
        "note: stdin: hooks.poststop: nvidia-container-runtime cannot inject devices: must be a "
        "list, not an object",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "error: stdin: is empty, not a JSON document"),
        ("{", "error: stdin: is not JSON: line 1, column 2: expecting property name enclosed in double quotes"),
        ('{"a": 1} x', "error: stdin: is not JSON: line 1, column 10: extra data"),
        ("[" * 100_000, "error: stdin: is nested too deeply"),
        ("5", "error: stdin: must be an object, not a number"),
    ],
    ids=["empty", "truncated", "trailing", "deep", "number"],
)  # fmt: skip
def test_what_is_no_document(text: str, says: str) -> None:
    got = ctk.run("spec", "validate", "-", stdin=text)

    assert (got.code, got.lines()) == (1, [says])


def test_missing_file() -> None:
    got = ctk.run("spec", "validate", "/nowhere")

    assert got.lines() == ["error: /nowhere: cannot be read: no such file or directory"]
    assert got.code == 1


def test_findings_for_machines() -> None:
    got = ctk.run("spec", "validate", "--format=json", "-", stdin='{"process": {"cwd": "/"}}')

    report = json.loads(got.out)
    assert (report["valid"], report["files"]) == (False, ["stdin"])
    assert report["findings"][0] == {
        "severity": "error",
        "file": "stdin",
        "path": "ociVersion",
        "message": "is missing",
    }
