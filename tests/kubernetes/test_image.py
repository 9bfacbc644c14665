# SPDX-License-Identifier: Apache-2.0
"""The image that installs the runtime on a node: what is in it, and that it is the same twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shim

from nvidia_runtime.linux import mount

pytestmark = pytest.mark.long
HOME = "/opt/nvidia-container-runtime"
# As entry points of NVIDIA's GPU operator are made: one for sh, and one of older versions for bash.
SH = """#!/bin/sh
until [ -f /ready ]
do
  echo waiting
  sleep 0.1
  : >/ready
done
set -o allexport
cat /ready
. /ready
exec nvidia-ctk --version
"""
BASH = """#!/bin/bash
set -e
driver_root=/run/nvidia/driver
if [[ -f /ready ]]; then
  driver_root=/
fi
export NVIDIA_DRIVER_ROOT=$driver_root
sleep 0
exec nvidia-ctk --version
"""


def build(folder: Path) -> tuple[Path, dict[str, Any]]:
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


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def layout(
    image: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Return the image's root, unpacked, on a tmpfs of its own."""
    folder = tmp_path_factory.mktemp("layout")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
    try:
        for name in ("oci", "root"):
            (folder / name).mkdir()
        subprocess.run(["tar", "-C", folder / "oci", "-xf", image[0]], check=True)
        for layer in manifest(folder)["layers"]:
            blob = folder / "oci/blobs" / layer["digest"].replace(":", "/")
            subprocess.run(["tar", "-C", folder / "root", "-xzf", blob], check=True)
        yield folder
    finally:
        mount.detach(str(folder))


def read(folder: Path, digest: str) -> Any:
    return json.loads((folder / "oci/blobs" / digest.replace(":", "/")).read_text())


def manifest(folder: Path) -> Any:
    (entry,) = json.loads((folder / "oci/index.json").read_text())["manifests"]
    return read(folder, entry["digest"])


def test_configuration(layout: Path) -> None:
    config = read(layout, manifest(layout)["config"]["digest"])["config"]

    assert config["Entrypoint"] == [f"{HOME}/bin/nvidia-toolkit"]
    assert f"PATH={HOME}/bin:/bin" in config["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=void" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_nothing_else_is_in_it(layout: Path) -> None:
    root = layout / "root"

    assert sorted(path.name for path in root.iterdir()) == ["bin", "opt", "tmp"]
    assert sorted(path.name for path in (root / "opt").iterdir()) == ["nvidia-container-runtime"]
    assert (root / HOME[1:] / "share/licences/busybox-static").exists()


@pytest.mark.parametrize("script", [SH, BASH], ids=["sh", "bash"])
def test_entry_point_of_the_operator(script: str, layout: Path) -> None:
    entry = layout / "root/bin/entrypoint.sh"
    entry.write_text(script)
    entry.chmod(0o700)
    for name in ("proc", "dev"):
        (layout / "root" / name).mkdir(exist_ok=True)
    mounts = 'mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev"'
    enter = f'{mounts} && PATH=$PATH:/usr/sbin exec chroot "$1" /bin/env -i "$2" "$3"'
    words: list[str | Path] = [
        *("unshare", "--mount", "--pid", "--fork", "sh", "-ec", enter, "sh", layout / "root"),
        *(f"PATH={HOME}/bin:/bin", "/bin/entrypoint.sh"),
    ]

    got = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (got.returncode, got.stderr) == (0, "")
    assert "NVIDIA Container Toolkit CLI version 1.20.1" in got.stdout


def test_sbom(image: tuple[Path, dict[str, Any]]) -> None:
    sbom = image[1]
    purls = {component["purl"].partition("@")[0] for component in sbom["components"]}

    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "nvidia-container-runtime"
    assert purls >= {"pkg:deb/debian/libc6", "pkg:deb/debian/busybox-static", "pkg:pypi/plumbum"}
    assert len(sbom["dependencies"]) > len(purls)


def test_same_commit_makes_the_same_image(
    image: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    archive, sbom = build(tmp_path / "again")

    with tarfile.open(image[0]) as one, tarfile.open(archive) as other:
        assert one.getnames() == other.getnames()
    assert archive.read_bytes() == image[0].read_bytes()
    assert sbom == image[1]


def test_size(image: tuple[Path, dict[str, Any]]) -> None:
    assert image[0].stat().st_size <= 18 << 20
