# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk info: what this installation is, and what it finds here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import shim
import simulated
from builders import cdi_spec

import nvidia_runtime

from . import ctk


def lines(got: ctk.Ended) -> dict[str, list[str]]:
    """Return the facts of the text, by their names."""
    facts: dict[str, list[str]] = {}
    for line in got.lines():
        name, _, said = line.partition("  ")
        facts.setdefault(name, []).append(said.strip())
    return facts


def test_facts(tmp_path: Path) -> None:
    spec = ctk.write(tmp_path / "cdi/gpus.json", cdi_spec())
    text = f'[nvidia-container-runtime]\nmode = "cdi"\n[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{spec.parent}"]\n'
    config = ctk.write(tmp_path / "config.toml", text)

    got = ctk.run("info", "--config", config)
    facts = lines(got)

    assert (got.code, got.err) == (0, "")
    assert facts["version"] == [nvidia_runtime.__version__]
    assert facts["python"] == [f"{sys.version.split(maxsplit=1)[0]} {sys.executable}"]
    assert facts["config.toml"] == [str(config)]
    assert facts["mode"] == ["cdi"]
    assert facts["CDI spec"] == [str(spec)]
    assert facts["CDI devices"] == ["1"]


def test_without_anything(tmp_path: Path) -> None:
    got = ctk.run("info", PATH=str(tmp_path))
    facts = lines(got)

    assert got.code == 0
    assert facts["config.toml"] == [
        f"{ctk.NOWHERE}/nvidia-container-runtime/config.toml (absent: defaults)"
    ]
    assert "error" not in facts


def test_broken_settings(tmp_path: Path) -> None:
    config = ctk.write(tmp_path / "config.toml", "[x\n")

    got = ctk.run("info", "--config", config)

    assert got.code == 0
    assert got.err.startswith(f"warning: {config}: is not TOML: ")
    assert got.err.endswith("; going on with the default settings\n")


@pytest.mark.parametrize(
    ("machine", "mode", "gpus"),
    [("t4x1", "auto (jit-cdi)", 1), ("orin", "auto (csv or jit-cdi, by the names of its GPUs)", 0)],
)
def test_on_a_machine(machine: str, mode: str, gpus: int) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}
    words = [sys.executable, "-c", ctk.PROGRAM, "info", "--json"]

    facts = json.loads(simulated.run(machine, words, env=env).stdout)

    assert facts["mode"] == mode
    assert len(facts["gpus"]) == gpus
