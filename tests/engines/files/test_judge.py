# SPDX-License-Identifier: Apache-2.0
"""An engine's own opinion of its files, where it is installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli import ctk

from nvidia_runtime.engines import docker, judge
from nvidia_runtime.engines.supported import ENGINES

if TYPE_CHECKING:
    from pathlib import Path

# Programs that note how they are called, and then object to what has a word in it.
JUDGE = """#!/bin/sh
echo "$0 $* ${{CONTAINERS_CONF-}}" >> {log}
if grep -q {word} {file}; then echo "first"; echo "{says}" >&2; exit 1; fi
"""


def install(folder: Path, name: str, file: Path, word: str, says: str = "no {word}") -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    text = JUDGE.format(log=folder / "log", word=word, file=file, says=says.format(word=word))
    program.write_text(text)
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("engine", "program", "words"),
    [
        ("docker", "dockerd", "--validate --config-file {file} "),
        ("containerd", "containerd", "--config {file} config dump "),
        ("crio", "crio", "--config {file} --config-dir {folder}/conf.d config "),
        ("podman", "podman", "info {folder}/conf.d/x"),
    ],
)
def test_question(
    engine: str, program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, drop_in = tmp_path / "f", tmp_path / "conf.d" / "x"
    drop_in.parent.mkdir()
    for path in (file, drop_in):
        path.write_text("bad")
    install(tmp_path / "bin", program, file, "bad")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    objection = judge.objection(
        ENGINES[engine], str(file), str(drop_in) if engine != "docker" else ""
    )

    assert objection == f"{program}: no bad"
    log = (tmp_path / "bin" / "log").read_text()
    expected = words.format(file=file, folder=tmp_path)
    assert log == f"{tmp_path}/bin/{program} {expected}\n"


def test_dockerd_before_23_has_no_opinion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("bad")
    install(tmp_path / "bin", "dockerd", tmp_path / "f", "bad", "unknown flag: --validate")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    assert judge.objection(docker.ENGINE, str(tmp_path / "f")) == ""


def test_engine_that_is_not_there_has_no_opinion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("bad")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert judge.objection(docker.ENGINE, str(tmp_path / "f")) == ""


def configure(file: Path, tmp_path: Path) -> ctk.Ended:
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    return ctk.run(
        *("runtime", "configure", "--config", file),
        PATH=path,
        STATE_DIRECTORY=str(tmp_path / "state"),
    )


def test_objection_brings_the_old_file_back(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "daemon.json", '{"debug": true}')
    install(tmp_path / "bin", "dockerd", file, "nvidia")

    got = configure(file, tmp_path)

    assert (got.code, got.out) == (1, "")
    assert got.err == (
        f"nvidia-ctk: {file}: the engine objects to the new configuration; the old one is back:"
        " dockerd: no nvidia\n"
    )
    assert file.read_text() == '{"debug": true}'
    journal = json.loads((tmp_path / "state" / "engines.json").read_text())
    assert journal["files"] == {}


def test_objection_that_was_there_before_is_not_ours(tmp_path: Path) -> None:
    file = ctk.write(tmp_path / "daemon.json", '{"debug": "yes"}')
    install(tmp_path / "bin", "dockerd", file, "debug")

    got = configure(file, tmp_path)

    assert got.code == 0
    assert "the engine cannot judge the change, since it objected before: dockerd: no debug" in (
        got.err
    )
    assert "nvidia" in file.read_text()
