# SPDX-License-Identifier: Apache-2.0
"""The library that lets calls fail, compiled once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("preload.c")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile what is preloaded; return its path."""
    path = os.fspath(tmp_path_factory.mktemp("faults") / "preload.so")
    words = ["cc", "-O1", "-shared", "-fPIC", "-o", path, os.fspath(SOURCE), "-ldl"]
    subprocess.run(words, check=True)
    return path
