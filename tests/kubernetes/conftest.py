# SPDX-License-Identifier: Apache-2.0
"""The image, built once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import shim
from engines.conftest import group

__all__ = ["group"]

Image = tuple[Path, dict[str, Any]]


def build(folder: Path) -> Image:
    """Build the image; return its archive and its SBOM."""
    if os.geteuid() != 0 or not (shutil.which("podman") or shutil.which("buildah")):
        pytest.skip("needs root, and podman or buildah")
    words: list[str | Path] = [shim.TREE / "packaging/kubernetes/build", "", folder]
    words[1] = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    got = subprocess.run(words, capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stdout + got.stderr
    (archive,) = folder.glob("*.tar")
    (sbom,) = folder.glob("*.cdx.json")
    assert sorted(folder.iterdir()) == sorted([archive, sbom])
    return archive, json.loads(sbom.read_text())


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Build the image."""
    return build(tmp_path_factory.mktemp("image"))
