# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi transform root: a spec with paths below another root."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import cdi_spec, device

from nvidia_runtime.cdi import spec as cdi_spec_file
from nvidia_runtime.cdi import transform

from . import ctk

NODES = {"deviceNodes": [{"path": "/dev/x", "hostPath": "/r/dev/x"}, {"path": "/r/dev/y"}]}
MOUNTS = {"mounts": [{"hostPath": "/r/a", "containerPath": "/r/b"}]}


def hook(name: str) -> dict[str, Any]:
    args = ["h", "/r/a::/r/b", "--f=/r/c", "/r/d"]
    return {"hooks": [{"hookName": name, "path": "/r/bin/h", "args": args}]}


def moved(
    edits: dict[str, Any], relative_to: str, old: str = "/r", new: str = "/n"
) -> dict[str, Any]:
    """Return the edits of a device in another root."""
    spec = transform.root(cdi_spec(device("0", **edits)), old, new, relative_to)
    result: dict[str, Any] = spec["devices"][0]["containerEdits"]
    return result


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("/r/a", "/r", "/n", "/n/a"),
        ("/r", "/r", "/n", "/n"),
        ("/root/a", "/r", "/n", "/root/a"),
        ("/r/a", "/r/", "/n/", "/n/a"),
        ("/a", "/", "/n", "/n/a"),
        ("/a", "", "/n", "/n/a"),
        ("a", "", "/n", "a"),
        ("/r/a", "/r", "", "/a"),
        ("/r", "/r", "", "/"),
        ("/r//a/../b", "/r", "/n", "/n/b"),
        ("/other//a", "/r", "/n", "/other//a"),
    ],
)
def test_path(text: str, old: str, new: str, expected: str) -> None:
    assert transform.path(text, old, new) == expected


def test_relative_to_the_host() -> None:
    assert moved({**NODES, **MOUNTS}, "host") == {
        "deviceNodes": [
            {"path": "/dev/x", "hostPath": "/n/dev/x"},
            {"path": "/r/dev/y", "hostPath": "/n/dev/y"},
        ],
        "mounts": [{"hostPath": "/n/a", "containerPath": "/r/b"}],
    }


def test_relative_to_the_container() -> None:
    assert moved({**NODES, **MOUNTS}, "container") == {
        "deviceNodes": [{"path": "/dev/x", "hostPath": "/r/dev/x"}, {"path": "/n/dev/y"}],
        "mounts": [{"hostPath": "/r/a", "containerPath": "/n/b"}],
    }


@pytest.mark.parametrize(
    ("name", "relative_to", "path", "args"),
    [
        ("prestart", "host", "/n/bin/h", ["h", "/n/a::/n/b", "--f=/r/c", "/n/d"]),
        ("prestart", "container", "/r/bin/h", ["h", "/r/a::/r/b", "--f=/r/c", "/r/d"]),
        ("createContainer", "host", "/n/bin/h", ["h", "/r/a::/r/b", "--f=/r/c", "/r/d"]),
        ("createContainer", "container", "/r/bin/h", ["h", "/n/a::/n/b", "--f=/r/c", "/n/d"]),
        ("startContainer", "host", "/r/bin/h", ["h", "/r/a::/r/b", "--f=/r/c", "/r/d"]),
        ("startContainer", "container", "/n/bin/h", ["h", "/n/a::/n/b", "--f=/r/c", "/n/d"]),
    ],
)
def test_hooks(name: str, relative_to: str, path: str, args: list[str]) -> None:
    assert moved(hook(name), relative_to)["hooks"] == [
        {"hookName": name, "path": path, "args": args}
    ]


def test_edits_of_the_whole_spec_are_moved_and_the_given_spec_is_not() -> None:
    spec = cdi_spec(containerEdits=MOUNTS)

    result = transform.root(spec, "/r", "/n", "host")

    assert result["containerEdits"]["mounts"][0]["hostPath"] == "/n/a"
    assert spec["containerEdits"] == MOUNTS


def test_same_root_changes_nothing() -> None:
    assert moved(NODES, "host", "/r", "/r") == NODES


@pytest.mark.parametrize(
    ("version", "expected"), [("0.4.0", "0.5.0"), ("0.5.0", "0.5.0"), ("1.0.0", "1.0.0")]
)
def test_version_is_raised_only_where_it_must_be(version: str, expected: str) -> None:
    spec = cdi_spec(device("a", deviceNodes=[{"path": "/r/dev/y"}]), cdiVersion=version)

    assert transform.root(spec, "/r", "/n", "host")["cdiVersion"] == expected


def test_stdin_to_stdout() -> None:
    text = json.dumps(cdi_spec(device("0", **MOUNTS)))

    got = ctk.run("cdi", "transform", "root", "--from=/r", "--to", "/n", stdin=text)

    assert (got.code, got.err) == (0, "")
    assert (
        yaml.safe_load(got.out)["devices"][0]["containerEdits"]["mounts"][0]["hostPath"] == "/n/a"
    )


@pytest.mark.parametrize(
    ("output", "written"),
    [("o.json", "o.json"), ("o.yaml", "o.yaml"), ("o.yml", "o.yml"), ("o", "o.yaml"), ("d/e/o.json", "d/e/o.json")],
)  # fmt: skip
def test_output(output: str, written: str, tmp_path: Path) -> None:
    source = ctk.write(tmp_path / "in.json", cdi_spec(device("0", **MOUNTS)))

    got = ctk.run(
        "cdi", "transform", "root", "--from=/r", "--input", source, "--output", tmp_path / output
    )

    file = tmp_path / written
    assert got == ctk.Ended(0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert (file.read_text()[0] == "{") == written.endswith(".json")
    spec = cdi_spec_file.parse(file.read_bytes(), str(file))
    assert spec["devices"][0]["containerEdits"]["mounts"][0]["hostPath"] == "/a"
    assert [path.name for path in file.parent.iterdir() if path.name[0] == "."] == []


def test_link_is_followed_and_its_file_replaced(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "in.json", cdi_spec(device("0", **MOUNTS)))
    (tmp_path / "link.json").symlink_to("in.json")
    link = tmp_path / "link.json"

    ctk.run("cdi", "transform", "root", "--from=/r", "--to=/n", "--input", link, "--output", link)

    assert link.is_symlink()
    assert '"/n/a"' in file.read_text()


def test_output_to_stdout_by_name(tmp_path: Path) -> None:
    source = ctk.write(tmp_path / "in.json", cdi_spec())

    got = ctk.run("cdi", "transform", "root", "--input", source, "--output", "/dev/stdout")

    assert got.out.startswith("---\ncdiVersion:")


def test_strings_survive_every_reader_of_yaml() -> None:
    env = [f"{word}=" for word in ("A", "b")]
    args = [
        "y",
        "no",
        "On",
        "null",
        "~",
        "1e3",
        "0x1",
        "012",
        "1:30",
        "2020-01-01",
        "- a",
        "a: b",
        "",
        "ü",
        "#",
        "a\nb",
    ]
    spec = cdi_spec(
        device("0", env=env, hooks=[{"hookName": "prestart", "path": "/a", "args": args}])
    )

    got = ctk.run("cdi", "transform", "root", "--from=/r", stdin=json.dumps(spec))

    assert cdi_spec_file.parse(got.out.encode(), "out") == spec
    assert yaml.safe_load(got.out) == spec
    assert '"1e3"' in got.out


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (["--relative-to=x"], "", "nvidia-ctk: invalid --relative-to value: 'x'\nhint: it is 'host' or 'container'\n"),
        (["--input=/nowhere"], "", "nvidia-ctk: /nowhere: cannot be read: no such file or directory\n"),
        ([], "", "nvidia-ctk: stdin: has no CDI spec in it\n"),
        ([], json.dumps(cdi_spec(bogus=1)), "nvidia-ctk: stdin: bogus: is not a field of a CDI spec\n"),
        (
            ["--output=/proc/nowhere/x.json"],
            json.dumps(cdi_spec()),
            "nvidia-ctk: /proc/nowhere/x.json: cannot be written: no such file or directory\n",
        ),
    ],
    ids=["relative to what", "no input", "empty input", "unknown field", "no output"],
)  # fmt: skip
def test_refusals(words: list[str], stdin: str, says: str) -> None:
    got = ctk.run("cdi", "transform", "root", *words, stdin=stdin)

    assert (got.code, got.out, got.err) == (1, "", says)
