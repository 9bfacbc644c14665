# SPDX-License-Identifier: Apache-2.0
"""Users whose folders lie somewhere else, or nowhere."""

from __future__ import annotations

import os
import pwd

import pytest

from nvidia_runtime.engines import engine, home, journal


def nobody(number: int) -> None:
    raise KeyError(number)


@pytest.fixture(autouse=True)
def _without_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("/home/ada", "/home/ada"), ("/home/ada/", "/home/ada"), ("/", ""), ("", "")],
)
def test_home_of_the_variable(variable: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", variable)

    assert home.folder() == folder


def test_user_without_a_name_or_a_home_has_no_folder_in_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)

    config = engine.expanded("$XDG_CONFIG_HOME/docker/daemon.json")
    assert config == "/nonexistent/.config/docker/daemon.json"
    assert journal.folder() == "/nonexistent/.local/state/nvidia-container-runtime"
    monkeypatch.setenv("HOME", "here")
    assert home.folder() == home.NOWHERE
