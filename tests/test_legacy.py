# SPDX-License-Identifier: Apache-2.0
"""Legacy mode: the prestart hook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from builders import Document, spec

from nvidia_runtime import config, legacy
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.policy import Admitted
from nvidia_runtime.request import Request

HOOK = "nvidia-container-runtime-hook"


def injected(document: Document, program: str = f"/opt/{HOOK}") -> list[Document]:
    """Give the edits for a container that asks for nothing."""
    settings = {**config.defaults(), f"{HOOK}.path": program}
    found = legacy.sources(document, Request(), Admitted((), ""), settings, "/b/config.json")
    return [source.edits for source in found]


def test_hook_is_added_to_every_container() -> None:
    hook = {"path": f"/opt/{HOOK}", "args": [HOOK, "prestart"]}

    assert injected(spec()) == [{"hooks": {"prestart": [hook]}}]


def test_name_of_the_program_is_its_first_argument() -> None:
    hook = {"path": "/opt/our-hook", "args": ["our-hook", "prestart"]}

    assert injected(spec(), "/opt/our-hook") == [{"hooks": {"prestart": [hook]}}]


@pytest.mark.parametrize("name", [HOOK, "nvidia-container-toolkit"])
def test_hook_that_is_there_is_enough(name: str) -> None:
    assert injected(spec(hooks={"prestart": [{"path": f"/usr/bin/{name}"}]})) == []


@pytest.mark.parametrize("hooks", [{"poststop": [{"path": f"/usr/bin/{HOOK}"}]}, {}, None])
def test_hook_of_another_stage_is_not_enough(hooks: object) -> None:
    assert len(injected(spec(hooks=hooks))) == 1


def test_hooks_of_a_wrong_type() -> None:
    with pytest.raises(NvidiaRuntimeError) as error:
        injected(spec(hooks=[]))

    assert str(error.value) == "/b/config.json: hooks: must be an object, not a list"


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the only folder of PATH, with a program in it."""
    (tmp_path / "program").touch()
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "text").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("posix.environ", {b"PATH": b"relative::" + os.fsencode(tmp_path)})
    return tmp_path


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/absolute/absent", "/absolute/absent"),
        ("program", "{}/program"),
        ("text", "/usr/bin/default"),
        ("folder", "/usr/bin/default"),
        ("absent", "/usr/bin/default"),
        ("", "/usr/bin/default"),
        ("./program", "/usr/bin/default"),
        ("a\0b", "/usr/bin/default"),
    ],
)
def test_executable(program: str, expected: str, bin_folder: Path) -> None:
    assert legacy.executable(program, "default") == expected.format(bin_folder)


def test_executable_in_a_default_folder(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.environ", {})
    monkeypatch.setattr("nvidia_runtime.oci.lowlevel.DEFAULT_PATH", (str(bin_folder),))

    assert legacy.executable("program", "default") == f"{bin_folder}/program"
