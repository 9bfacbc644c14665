# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi inject: the config.json of a create, without a container."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from builders import asking, cdi_spec, device, environment, spec
from shim import Site

import nvidia_runtime

from . import ctk

GPUS = cdi_spec(device("0"), device("1"), device("all"), containerEdits={"env": ["DRIVER=1"]})


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """Return a spec dir with two GPUs."""
    ctk.write(tmp_path / "cdi" / "gpus.json", GPUS)
    return tmp_path / "cdi"


def test_difference_to_a_minimal_container(specs: Path) -> None:
    got = ctk.run("cdi", "inject", "--device", "nvidia.com/gpu=0", "--spec-dir", specs)

    assert (got.code, got.err) == (0, "")
    assert got.lines() == [
        "--- config.json",
        "+++ config.json with devices",
        "@@ -6,7 +6,9 @@",
        '       "sh"',
        "     ],",
        '     "env": [',
        '-      "PATH=/usr/bin:/bin"',
        '+      "PATH=/usr/bin:/bin",',
        '+      "DRIVER=1",',
        '+      "GPU=0"',
        "     ]",
        "   },",
        '   "root": {',
    ]


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["--device", "0"], ["GPU=0"]),
        (["--device", "all"], ["GPU=all"]),
        (["--device", "0,1"], ["GPU=1"]),
        (["--device", "1", "--device", "nvidia.com/gpu=0"], ["GPU=0"]),
    ],
)
def test_devices_as_the_runtime_names_them(words: list[str], got: list[str], specs: Path) -> None:
    ended = ctk.run("cdi", "inject", *words, "--spec-dir", specs, "--format", "json")

    env = ["PATH=/usr/bin:/bin", "DRIVER=1", *got]
    assert environment(json.loads(ended.out)) == env


def test_result_is_that_of_a_create() -> None:
    nodes = [{"path": "/dev/null"}, {"path": "/dev/gpu", "hostPath": "/dev/zero", "major": 9}]
    mounts = [
        {"hostPath": "/a/b/c", "containerPath": "/lib/x"},
        {"hostPath": "/a", "containerPath": "/b"},
    ]
    hooks = [{"hookName": "createContainer", "path": "/bin/true", "args": ["true"], "env": ["A=b"]}]
    edits = {
        "env": ["A=b"],
        "deviceNodes": nodes,
        "mounts": mounts,
        "hooks": hooks,
        "additionalGids": [5],
    }
    container = asking(
        "0", hooks={"prestart": [{"path": "/usr/bin/nvidia-container-runtime-hook"}]}
    )
    with Site() as site:
        site.write_specs(gpus=cdi_spec(device("0", **edits), cdiVersion="1.0.0"))
        file = ctk.write(site.folder / "config.json", container)
        site.write_bundle(container)

        got = ctk.run(
            "cdi", "inject", "--device=0", "--config", site.config, "--spec", file, "--format=json"
        )

        assert site.create().code == 0
        assert json.loads(got.out) == site.read_bundle()
        assert json.loads(file.read_text()) == container


def test_nothing_is_written(specs: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    state = str(tmp_path)

    ctk.run("cdi", "inject", "--device=0", "--spec-dir", specs, cwd=tmp_path, XDG_RUNTIME_DIR=state)

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o644), (0o600, 0o600)])
def test_output(mode: int | None, expected: int, specs: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "config.json"
    if mode:
        ctk.write(file, spec()).chmod(mode)

    got = ctk.run("cdi", "inject", "--device=1", "--spec-dir", specs, "--output", file)

    assert got == ctk.Ended(0, "", f"wrote {file}\n")
    assert environment(json.loads(file.read_text()))[-1] == "GPU=1"
    assert stat.S_IMODE(file.stat().st_mode) == expected


def test_spec_from_stdin(specs: Path) -> None:
    words = ("cdi", "inject", "--device=0", "--spec-dir", specs, "--spec", "-", "--format", "json")

    got = ctk.run(*words, stdin=json.dumps(spec("X=ü", future={"a": 1})))

    assert json.loads(got.out)["future"] == {"a": 1}
    assert '"X=ü"' in got.out


def test_default_kind_is_that_of_the_configuration(tmp_path: Path) -> None:
    ctk.write(tmp_path / "cdi" / "a.json", cdi_spec(device("0"), kind="example.com/x"))
    config = ctk.write(
        tmp_path / "config.toml",
        "[nvidia-container-runtime.modes.cdi]\n"
        f'spec-dirs = ["{tmp_path}/cdi"]\ndefault-kind = "example.com/x"\n',
    )

    got = ctk.run("cdi", "inject", "--device=0", "--config", config)

    assert '+      "GPU=0"' in got.lines()


@pytest.mark.parametrize(
    ("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)]
)
def test_colours_on_a_terminal(variables: dict[str, str], is_coloured: bool, specs: Path) -> None:
    master, slave = pty.openpty()
    argv = [
        sys.executable,
        "-c",
        ctk.PROGRAM,
        "cdi",
        "inject",
        "--device=0",
        "--spec-dir",
        str(specs),
    ]
    root = str(Path(nvidia_runtime.__file__).parents[1])
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "TERM": "xterm", **variables}

    subprocess.run(argv, stdout=slave, check=True, env=env)

    os.close(slave)
    shown = os.read(master, 1 << 16)
    os.close(master)
    assert (b"\033[32m+" in shown) == is_coloured


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        ([], "", "nvidia-ctk: flag --device=DEVICE is missing\n"),
        (["--device=7"], "", "nvidia-ctk: unresolvable CDI devices nvidia.com/gpu=7; "),
        (["--device=0", "--spec=/nowhere"], "", "nvidia-ctk: /nowhere: cannot be read: no such file"),
        (["--device=0", "--spec=-"], "[]", "nvidia-ctk: stdin: must be a JSON object, not a list\n"),
        (["--device=0", "--spec=-"], "{", "nvidia-ctk: stdin: is not JSON: line 1, column 2"),
        (["--device=0", "--spec=-"], '{"process": 5}', "nvidia-ctk: stdin: process: must be an object"),
        (["--device=0", "--config=/etc"], "", "nvidia-ctk: /etc: cannot read the configuration: is a dir"),
    ],
    ids=["no device", "unknown device", "no spec", "list", "no JSON", "wrong type", "configuration"],
)  # fmt: skip
def test_refusals(words: list[str], stdin: str, says: str, specs: Path) -> None:
    got = ctk.run("cdi", "inject", "--spec-dir", specs, *words, stdin=stdin)

    assert (got.code, got.out) == (1, "")
    assert got.err.startswith(says)


# What a terminal would obey: colours, the title, the cursor, C1, another order, a line's end.
CONTROLS = "\x1b[31m\x1b]0;title\x07\r\b\x9b2J\u202e\u2028\x7f"


@pytest.mark.parametrize("form", ["json", "diff"])
def test_control_characters_are_shown_escaped(form: str, tmp_path: Path) -> None:
    """Of a spec, of the config.json, and of the file's name; what is meant stays the same."""
    ctk.write(tmp_path / "cdi/gpus.json", cdi_spec(device("0", env=[f"GPU={CONTROLS}"])))
    file = ctk.write(tmp_path / "c\x1b[31m.json", spec(f"A={CONTROLS}"))

    words = ("--device=0", "--spec", file, "--spec-dir", tmp_path / "cdi", "--format", form)
    got = ctk.run("cdi", "inject", *words)

    assert got.code == 0, got.err
    shown = [letter for letter in got.out + got.err if not letter.isprintable()]
    assert set(shown) == {"\n"}
    assert r"\u001b[31m" in got.out
    if form == "json":
        env = environment(json.loads(got.out))
        assert env[-2:] == [f"A={CONTROLS}", f"GPU={CONTROLS}"]
