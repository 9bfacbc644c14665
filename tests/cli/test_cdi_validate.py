# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi validate: all errors and warnings at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from builders import Document, cdi_spec, device
from cdi.test_engine_support import install
from shim import needs_root

from nvidia_runtime.cdi import spec as cdi_spec_file
from nvidia_runtime.cli import findings
from nvidia_runtime.errors import NvidiaRuntimeError

from . import ctk

EXAMPLES = Path(__file__).parents[1] / "examples" / "cdi"
HOOK = {"hookName": "createContainer", "path": "/bin/true", "env": ["A=b"]}


def errors(document: Document | str) -> list[str]:
    """Return the errors of a spec, without the file."""
    data = document if isinstance(document, str) else json.dumps(document)
    problems = findings.of_cdi_spec(data.encode(), "FILE")
    return [str(finding).removeprefix("error: FILE: ") for finding in problems]


def warnings(*dirs: Path) -> list[str]:
    """Return the findings of a host with these spec dirs, except those about owners of folders."""
    got = ctk.run("cdi", "validate", *[f"--spec-dir={folder}" for folder in dirs])
    return [line.replace(f"{dirs[0].parent}/", "") for line in got.lines()]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (cdi_spec(), []),
        ("", ["has no CDI spec in it"]),
        ("[]", ["must be an object"]),
        ('{"kind": 1,\n"kind": 2}', ["is not YAML: line 2, column 1: repeated key 'kind'"]),
        (
            cdi_spec(device("a"), device("b"), device("a"), device("a")),
            [
                "devices[2].name: device 'a' is there twice",
                "devices[3].name: device 'a' is there twice",
            ],
        ),
        (
            cdi_spec(device("a", mounts=[{"hostPath": "/a", "containerPath": "/a", "type": "x"}]), cdiVersion="0.3.0"),
            ["cdiVersion: is 0.3.0, but what the spec has in it needs 0.4.0"],
        ),
        (
            cdi_spec({"name": "a", "containerEdits": {"envs": [], "env": ["A"]}}, vendor="x", kind="nvidia"),
            [
                "kind: must be VENDOR/CLASS, both starting with a letter, not 'nvidia'",
                "devices[0].containerEdits: unknown key 'envs'; did you mean 'env'?",
                "devices[0].containerEdits.env[0]: must be NAME=VALUE, not 'A'",
                "unknown key 'vendor'",
            ],
        ),
        (
            cdi_spec(device("a", hooks=[{"hookName": "x"}, {"hookName": "prestart"}, HOOK, 5]), device("a")),
            [
                "devices[0].containerEdits.hooks[0].path: is missing",
                "devices[0].containerEdits.hooks[0].hookName: must be 'prestart', 'createRuntime', "
                "'createContainer', 'startContainer', 'poststart' or 'poststop', not 'x'",
                "devices[0].containerEdits.hooks[1].path: is missing",
                "devices[0].containerEdits.hooks[3]: must be an object, not a number",
                "devices[1].name: device 'a' is there twice",
            ],
        ),
    ],
    ids=["none", "empty", "list", "no JSON", "duplicates", "version", "keys", "hooks"],
)  # fmt: skip
def test_all_errors_of_a_spec(document: Document | str, said: list[str]) -> None:
    assert errors(document) == said


def test_scalars_of_yaml_are_what_their_readers_take_them_for() -> None:
    text = "cdiVersion: 0.5.0\nkind: a/b\ndevices:\n- {name: 0, containerEdits: {hooks: [{hookName: poststop, path: /a, args: [1, on]}]}}\n"

    assert errors(text) == []
    assert errors(f"{text}bogus: 1\n") == ["unknown key 'bogus'"]


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("bad/*.[jy]*")), ids=lambda file: file.name)
def test_first_error_of_the_runtime_is_among_all(file: Path) -> None:
    data = file.read_bytes()
    with pytest.raises(NvidiaRuntimeError) as error:
        cdi_spec_file.parse(data, "FILE")

    paths = {finding.path for finding in findings.of_cdi_spec(data, "FILE")}

    path = error.value.where.removeprefix("FILE").removeprefix(": ")
    assert path in paths or path.rpartition(".")[0] in paths


def test_files_and_stdin(tmp_path: Path) -> None:
    good = ctk.write(tmp_path / "good.json", cdi_spec())
    bad = ctk.write(tmp_path / "bad.yaml", "kind: a/b")

    got = ctk.run("cdi", "validate", good, "-", bad, stdin='{"devices": []')

    assert got.code == 1
    assert [line.split(": ")[:3] for line in got.lines()] == [
        ["error", "stdin", "is not YAML"],
        ["error", str(bad), "cdiVersion"],
        ["error", str(bad), "devices"],
    ]
    assert got.err == "checked 3 files: 3 errors, 0 warnings\n"


def test_good_file(tmp_path: Path) -> None:
    got = ctk.run("cdi", "validate", ctk.write(tmp_path / "good.json", cdi_spec()))

    assert got == ctk.Ended(0, "", "checked 1 file: 0 errors, 0 warnings\n")


def test_findings_for_machines(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "a.json", cdi_spec(device("a"), device("a")))

    got = ctk.run("--quiet", "cdi", "validate", "--format", "json", file)

    assert (got.code, got.err) == (1, "")
    assert json.loads(got.out) == {
        "valid": False,
        "files": [str(file)],
        "findings": [
            {
                "severity": "error",
                "file": str(file),
                "path": "devices[1].name",
                "message": "device 'a' is there twice",
            }
        ],
    }


def test_hooks_that_others_may_use(tmp_path: Path) -> None:
    bare = {"hookName": "createContainer", "path": "bin/hook"}
    file = ctk.write(tmp_path / "a.json", cdi_spec(device("a", hooks=[HOOK, bare])))

    got = ctk.run("cdi", "validate", file)

    place = f"warning: {file}: devices[0].containerEdits.hooks[1]"
    assert got.code == 0
    assert got.lines() == [
        f"{place}.env: is missing: the hook inherits variables of the image, such as LD_PRELOAD "
        "(CVE-2025-23266)",
        f"{place}.path: 'bin/hook' is relative: the program depends on the working directory",
    ]


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"deviceNodes": [{"path": "/dev/null", "major": 1, "minor": 3}]}, ""),
        ({"deviceNodes": [{"path": "/x", "hostPath": "/dev/null", "type": "u"}]}, ""),
        ({"deviceNodes": [{"path": "/nowhere", "type": "c", "major": 5}]}, ""),
        (
            {"deviceNodes": [{"path": "/dev/null", "major": 195, "minor": 3}]},
            "deviceNodes[0]: '/dev/null' has major 1 on this host, which is used, not 195",
        ),
        (
            {"deviceNodes": [{"path": "/dev/null", "major": 1, "minor": 5}]},
            "deviceNodes[0]: '/dev/null' has minor 3 on this host, which is used, not 5",
        ),
        (
            {"deviceNodes": [{"path": "/nowhere"}]},
            "deviceNodes[0]: '/nowhere' cannot be injected: no such file or directory",
        ),
        ({"deviceNodes": [{"path": "/etc"}]}, "deviceNodes[0]: '/etc' is not a device node on this host"),
        (
            {"deviceNodes": [{"path": "/dev/null", "type": "b"}]},
            "deviceNodes[0]: '/dev/null' is of type c on this host, not b",
        ),
        (
            {"mounts": [{"hostPath": "/nowhere", "containerPath": "/a"}]},
            "mounts[0].hostPath: '/nowhere' does not exist on this host",
        ),
        ({"mounts": [{"hostPath": "tmpfs", "containerPath": "/a", "type": "tmpfs"}]}, ""),
        ({"hooks": [{**HOOK, "path": "/etc"}]}, "hooks[0].path: '/etc' is not a program on this host"),
        ({"hooks": [{**HOOK, "path": "/etc", "hookName": "startContainer"}]}, ""),
        (
            {"hooks": [{**HOOK, "path": "/etc"}] * 9},
            "hooks[0].path: '/etc' is not a program on this host, for 9 hooks",
        ),
    ],
)  # fmt: skip
def test_what_a_spec_says_of_this_host(edits: dict[str, Any], said: str, tmp_path: Path) -> None:
    ctk.write(tmp_path / "cdi" / "a.json", cdi_spec(device("a", **edits)))

    lines = warnings(tmp_path / "cdi")

    assert lines == ([f"warning: cdi/a.json: devices[0].containerEdits.{said}"] if said else [])


def test_what_keeps_good_specs_from_being_used(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    ctk.write(low / "a.json", cdi_spec(device("0"), device("1")))
    ctk.write(low / "b.json", cdi_spec(device("1")))
    ctk.write(low / "c.yml", cdi_spec())
    ctk.write(high / "x.yaml", cdi_spec(device("0")))

    assert warnings(low, high, tmp_path / "absent") == [
        "warning: low/a.json and low/b.json: device nvidia.com/gpu=1 is described by two files of "
        "one spec dir, so by none",
        "warning: low/a.json: devices[0]: device nvidia.com/gpu=0 is not used: high/x.yaml has a "
        "higher priority",
        "warning: low/c.yml: is ignored: the name of a CDI spec ends in .json or .yaml",
    ]


def test_broken_specs_of_a_host_are_errors(tmp_path: Path) -> None:
    ctk.write(tmp_path / "cdi" / "a.json", "{\n")
    os.mkfifo(tmp_path / "cdi" / "b.json")

    got = ctk.run("cdi", "validate", "--spec-dir", tmp_path / "cdi")

    assert got.code == 1
    assert [line.rpartition("/")[2] for line in got.lines()] == [
        "a.json: is not JSON: line 2, column 1: expecting property name enclosed in double quotes",
        "b.json: is not a regular file",
    ]


def test_no_spec_dir() -> None:
    got = ctk.run("cdi", "validate", "--spec-dir", "/nowhere,/nowhere/else")

    assert got.lines() == ["warning: /nowhere, /nowhere/else: no spec dir exists"]
    assert got.code == 0


@needs_root
def test_files_that_others_may_write(tmp_path: Path) -> None:
    folder = tmp_path / "cdi"
    mine = ctk.write(folder / "a.json", cdi_spec(device("0")))
    ctk.write(folder / "b.json", cdi_spec(device("1")))
    os.chown(mine, 65534, -1)
    (folder / "b.json").chmod(0o664)
    folder.chmod(0o777)

    assert warnings(folder) == [
        "warning: cdi: can be written by others (mode 0777): chmod go-w",
        "warning: cdi/a.json: belongs to user 65534, who can change what containers get",
        "warning: cdi/b.json: can be written by others (mode 0664): chmod go-w",
    ]


@pytest.mark.parametrize(
    ("version", "engines", "said"),
    [
        ("0.7.0", {"podman": "4.9.3"}, "podman 4.9.3 reads CDI up to 0.6.0"),
        ("0.6.0", {"podman": "4.9.3"}, ""),
        (
            "v1.0.0",
            {"podman": "5.5.0", "containerd": "1.7.24"},
            "containerd 1.7.24 reads CDI up to 0.8.0",
        ),
        ("0.7.0", {"dockerd": "20.10.24"}, ""),
    ],
    ids=["too new", "known", "too new for one", "an engine without CDI"],
)
def test_version_that_an_engine_here_does_not_read(
    version: str, engines: dict[str, str], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    folder.mkdir()
    file = folder / "a.json"
    file.write_text(json.dumps(cdi_spec(cdiVersion=version)))

    got = ctk.run(
        "cdi",
        "validate",
        f"--spec-dir={folder}",
        "--format=json",
        PATH=install(tmp_path, **engines),
    )

    rows = [row for row in json.loads(got.out)["findings"] if row["path"] == "cdiVersion"]
    hint = (
        f"and ignores this file: 'nvidia-ctk cdi generate --output={file}' writes one that it reads"
    )
    assert [(row["severity"], row["message"]) for row in rows] == (
        [("warning", f"{said}, {hint}")] if said else []
    )
