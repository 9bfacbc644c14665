# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk config explain: the meaning of settings, their values and origins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nvidia_runtime.compile import config

from . import ctk


def test_every_setting_is_explained(tmp_path: Path) -> None:
    got = ctk.run("config", "explain", "--format=json", "-c", tmp_path / "none")

    settings = {setting["key"]: setting for setting in json.loads(got.out)}
    defaults = {key: setting["default"] for key, setting in settings.items()}
    assert set(settings) == set(config.DEFAULTS)
    assert all(setting["meaning"] and setting["type"] for setting in settings.values())
    assert defaults == config.check({}, "")[0]
    assert {setting["file"] for setting in settings.values()} == {""}


def test_value_and_its_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[nvidia-container-runtime.modes.jit-cdi]\ndriver-capabilities = "requested"\n')

    got = ctk.run("config", "-c", file, "explain", "driver-capabilities")

    assert got == ctk.Ended(
        0,
        'nvidia-container-runtime.modes.jit-cdi.driver-capabilities = "requested"\n'
        '  Which files of the driver a container gets: "all", or with "requested" those\n'
        "  of the capabilities that its NVIDIA_DRIVER_CAPABILITIES names.\n"
        "  type:    string, one of all, requested\n"
        '  default: "all"\n'
        f"  from:    {file}\n",
        "",
    )


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        pytest.param("nvidia-ctk", ["nvidia-ctk.path", "nvidia-ctk.cdi-spec-version"], id="table"),
        pytest.param("spec-dirs", ["nvidia-container-runtime.modes.cdi.spec-dirs"], id="last word"),
        pytest.param(
            "debug",
            ["nvidia-container-cli.debug", "nvidia-container-runtime.debug"],
            id="last word of two",
        ),
    ],
)
def test_part_of_a_name(tmp_path: Path, asked: str, keys: list[str]) -> None:
    got = ctk.run("config", "explain", asked, "--format=json", "-c", tmp_path / "none")

    assert [setting["key"] for setting in json.loads(got.out)] == keys


def test_unknown_setting() -> None:
    got = ctk.run("config", "explain", "disable-requires")

    assert got == ctk.Ended(
        1,
        "",
        "nvidia-ctk: unknown setting 'disable-requires'\n"
        "hint: did you mean disable-require? 'nvidia-ctk config explain' lists all of them\n",
    )


def test_broken_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("disable-require = 1\n")

    got = ctk.run("config", "explain", "-c", file)

    assert (got.code, got.out) == (1, "")
    assert f"{file}: disable-require must be true or false, not a number" in got.err
