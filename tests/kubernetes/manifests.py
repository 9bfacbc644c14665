# SPDX-License-Identifier: Apache-2.0
"""The manifests of packaging/kubernetes, as kubectl renders them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import shim
import yaml

from . import kustomize
from .kustomize import Document

FOLDER = shim.TREE / "packaging/kubernetes"
NAME = "nvidia-container-runtime"


def documents(path: Path) -> list[Document]:
    """Read the documents of a file."""
    return kustomize.read(path.read_text())


def kubectl(*words: str | Path, given: str = "") -> str:
    """Run kubectl without a cluster."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    command = ["kubectl", *(str(word) for word in words)]
    # No file of the user's says where a cluster is.
    environment = {**os.environ, "KUBECONFIG": "/dev/null"}
    run = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stderr[:2000]
    return run.stdout


def choose(scratch: Path, engine: str, components: Sequence[str] = (), tag: str = "") -> Path:
    """Choose in kustomization.yaml as a user does, in a copy of it all; return that."""
    folder = scratch / "kubernetes"
    shutil.copytree(FOLDER, folder)
    chosen = yaml.safe_load((folder / "kustomization.yaml").read_text())
    chosen |= {"resources": [engine], "components": list(components)}
    if tag:
        chosen["images"][0]["newTag"] = tag
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(chosen))
    return folder


def render(folder: Path) -> list[Document]:
    """Render what was chosen."""
    return kustomize.read(kubectl("kustomize", folder))


def container(workload: Document) -> Document:
    """Return the one container of a workload."""
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


def of_kind(rendered: list[Document], kind: str) -> dict[str, Document]:
    """Return the documents of a kind by their names."""
    return {
        document["metadata"]["name"]: document for document in rendered if document["kind"] == kind
    }
