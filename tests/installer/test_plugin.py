# SPDX-License-Identifier: Apache-2.0
"""The process for the Node Resource Interface beside an installation: started again, and ended."""

from __future__ import annotations

from pathlib import Path

import pytest
import waiting

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.installer import plugin
from nvidia_runtime.installer.options import Nri

NRI = Nri(is_on=True, index=7, socket="/s", namespace="gpu", namespaces=("a", "b"))


def program(folder: Path, end: str) -> Path:
    """Make a program that notes its words."""
    file = folder / "nvidia-ctk"
    file.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/words"\n{end}\n')
    file.chmod(0o755)
    return folder / "words"


def test_it_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "PAUSE", 0.0)
    words = program(tmp_path, "exit 0")
    kept = plugin.Plugin(NRI, str(tmp_path))

    def is_started_twice() -> bool:
        kept.keep()
        return words.exists() and len(words.read_text().splitlines()) > 1

    waiting.eventually(is_started_twice, "it is started again")
    kept.end()
    assert words.read_text().splitlines()[0] == (
        "nri --nri-plugin-index=7 --nri-socket=/s --nri-namespace=gpu"
        " --nri-management-cdi-device-namespaces=a --nri-management-cdi-device-namespaces=b"
    )


def test_it_is_ended(tmp_path: Path) -> None:
    words = program(tmp_path, "exec sleep 1000")
    kept = plugin.Plugin(NRI, str(tmp_path))
    kept.keep()
    waiting.eventually(words.exists, "it runs")

    kept.end()

    assert kept.process
    assert kept.process.returncode == -15


def test_version_without_it(tmp_path: Path) -> None:
    program(tmp_path, "exit 3")
    kept = plugin.Plugin(NRI, str(tmp_path))
    kept.keep()
    assert kept.process
    kept.process.wait()

    with pytest.raises(NvidiaRuntimeError, match="this version has no plugin for the NRI"):
        kept.keep()
