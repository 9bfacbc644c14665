# SPDX-License-Identifier: Apache-2.0
"""The image that installs the runtime on a node: what is in it, and that it is the same twice."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nvidia_runtime.linux import mount

from .conftest import Image, build

pytestmark = pytest.mark.long
HOME = "/opt/nvidia-container-runtime"
# As entry points of NVIDIA's GPU operator are made: one for sh, and one of older versions for bash.
SH = """#!/bin/sh
until [ -f /ready ]
do
  echo waiting
  sleep 0.1
  echo "TOOLKIT_INSTALL_DIR=$PLACE" >/ready
done
set -o allexport
cat /ready
. /ready
exec nvidia-toolkit
"""
BASH = """#!/bin/bash
set -e
driver_root=/run/nvidia/driver
if [[ -f /ready ]]; then
  driver_root=/
fi
export NVIDIA_DRIVER_ROOT=$driver_root
sleep 0
exec nvidia-toolkit "$PLACE"
"""
# In namespaces of its own; the words are a root, variables, and the command.
ENTER = (
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "sh",
    "-ec",
    """
root=$1
shift
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
PATH=$PATH:/usr/sbin exec chroot "$root" /bin/env -i "$@"
""",
    "sh",
)
# Where the image has a folder already, and no engine to be told.
PLACE = "/tmp/nvidia"
SETTINGS = {
    "PATH": f"{HOME}/bin:/bin",
    "PLACE": PLACE,
    "NO_DAEMON": "true",
    "NO_RUNTIME_CONFIG": "true",
    "TOOLKIT_PID_FILE": "/tmp/toolkit.pid",
    "NVIDIA_CONTAINER_RUNTIME_RUNTIMES": "/bin/true",
}


@pytest.fixture(scope="module")
def layout(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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

    got = run(layout, "/bin/entrypoint.sh")

    assert got.returncode == 0, got.stderr
    assert f"ready: {PLACE}/toolkit is toolkit-" in got.stderr
    for program in ("nvidia-ctk", "nvidia-cdi-hook", "nvidia-container-runtime-hook"):
        got = run(layout, f"{PLACE}/toolkit/{program}", "--version")
        assert (got.returncode, got.stderr) == (0, "")
        assert "version 1.20.1" in got.stdout
    got = run(layout, HOME + "/bin/nvidia-toolkit", "--remove", PLACE)
    assert got.returncode == 0, got.stderr
    assert [path.name for path in (layout / "root/tmp").iterdir()] == []


def run(layout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the image's root."""
    words: list[str | Path] = [*ENTER, layout / "root"]
    words += [f"{name}={value}" for name, value in SETTINGS.items()]
    return subprocess.run([*words, *command], capture_output=True, text=True, check=False)


def test_sbom(image: Image) -> None:
    sbom = image[1]
    purls = {component["purl"].partition("@")[0] for component in sbom["components"]}

    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "nvidia-container-runtime"
    assert purls >= {"pkg:deb/debian/libc6", "pkg:deb/debian/busybox-static", "pkg:pypi/plumbum"}
    assert len(sbom["dependencies"]) > len(purls)


def test_same_commit_makes_the_same_image(image: Image, tmp_path: Path) -> None:
    archive, sbom = build(tmp_path / "again")

    with tarfile.open(image[0]) as one, tarfile.open(archive) as other:
        assert one.getnames() == other.getnames()
    assert archive.read_bytes() == image[0].read_bytes()
    assert sbom == image[1]


def test_size(image: Image) -> None:
    assert image[0].stat().st_size <= 18 << 20
