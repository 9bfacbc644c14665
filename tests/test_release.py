# SPDX-License-Identifier: Apache-2.0
"""A release, made in a scratch clone: what it refuses, what it changes, and what is in dist."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import shim

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "9.8.7"
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@localhost")
AS = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(tree: Path, *words: str) -> str:
    call = ["git", "-C", f"{tree}", *IDENTITY, *words]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Make a clone whose one commit is this tree as it is."""
    if not (shim.TREE / ".git").exists():
        pytest.skip("needs a git clone, which knows the tree's files")
    tree = tmp_path / "clone"
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, git(shim.TREE, *listing).split("\0")):
        if (shim.TREE / name).is_symlink() or (shim.TREE / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(shim.TREE / name, tree / name, follow_symlinks=False)
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message=all")
    return tree


def release(clone: Path, version: str = VERSION) -> subprocess.CompletedProcess[str]:
    words = ["make", "-C", f"{clone}", "release", f"VERSION={version}"]
    env = {**os.environ, **AS}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=env)


def spoil_change_log(clone: Path) -> None:
    file = clone / "CHANGELOG.md"
    file.write_text(file.read_text().replace("## Unreleased\n", "## 0.0.9 - 2026-01-01\n"))
    git(clone, "commit", "--quiet", "--all", "--message=x")


@pytest.mark.parametrize(
    ("version", "spoil", "says"),
    [
        ("", lambda _: None, "VERSION=X.Y.Z is missing, such as VERSION=0.2.0"),
        ("1.0", lambda _: None, "VERSION=X.Y.Z is missing"),
        ("0.0.1", lambda _: None, "0.0.1 is older than "),
        (VERSION, lambda tree: git(tree, "tag", f"v{VERSION}"), f"the tag v{VERSION} is there"),
        (VERSION, lambda tree: (tree / "new").touch(), "there are changes that are not committed"),
        (VERSION, lambda tree: git(tree, "checkout", "--quiet", "--detach"), "no branch is"),
        (VERSION, spoil_change_log, "CHANGELOG.md has nothing below '## Unreleased'"),
    ],
    ids=["no version", "odd", "older", "a tag", "changes", "no branch", "nothing new"],
)
def test_what_is_refused_changes_nothing(
    version: str, spoil: Callable[[Path], object], says: str, clone: Path
) -> None:
    spoil(clone)
    before = git(clone, "log", "--all", "--format=%H %D"), git(clone, "status", "--porcelain")

    got = release(clone, version)

    assert got.returncode != 0
    assert f"make release: {says}" in got.stderr
    after = git(clone, "log", "--all", "--format=%H %D"), git(clone, "status", "--porcelain")
    assert after == before


@pytest.mark.long
def test_release(clone: Path) -> None:
    """From the version to the sums; what is built comes from what is tagged."""
    got = release(clone)

    assert got.returncode == 0, got.stdout + got.stderr
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "describe", "--exact-match").strip() == f"v{VERSION}"
    assert git(clone, "show", "--format=%s", "--name-only", "HEAD").split("\n") == [
        f"release: {VERSION}",
        "",
        "CHANGELOG.md",
        "nvidia_runtime/__init__.py",
        "packaging/kubernetes/kustomization.yaml",
        "",
    ]
    manifests = (clone / "packaging/kubernetes/kustomization.yaml").read_text()
    assert f"newTag: {VERSION}\n" in manifests
    log = (clone / "CHANGELOG.md").read_text()
    assert re.search(rf"^## Unreleased\n\n## {VERSION} - \d+-\d\d-\d\d\n\n### Added\n", log, re.M)
    assert "\n- " in git(clone, "tag", "--list", "--format=%(contents)", f"v{VERSION}")
    built = {path.name: path.read_bytes() for path in (clone / "dist").iterdir()}
    stem = f"nvidia_container_runtime-{VERSION}"
    expected = {f"{stem}-py3-none-any.whl", f"{stem}.tar.gz", f"{stem}.cdx.json", "SHA256SUMS"}
    packages = {path.rpartition(".")[2] for path in built.keys() - expected}
    makefile = (clone / "Makefile").read_text()
    assert expected <= built.keys()
    assert packages == {kind for kind in ("deb", "rpm") if f"\n{kind}:" in makefile}
    sums = [line.split() for line in built.pop("SHA256SUMS").decode().splitlines()]
    assert {name: digest for digest, name in sums} == {
        name: hashlib.sha256(data).hexdigest() for name, data in built.items()
    }
    listing = json.loads(built[f"{stem}.cdx.json"])
    assert listing["bomFormat"] == "CycloneDX"
    assert listing["metadata"]["component"]["version"] == VERSION
    names = {component["name"] for component in listing["components"]}
    assert {"PyYAML", "jsonschema", "plumbum", "pyroute2", "tomlkit"} <= names
    assert "pytest" not in names
    with zipfile.ZipFile(clone / "dist" / f"{stem}-py3-none-any.whl") as wheel:
        assert VERSION in wheel.read("nvidia_runtime/__init__.py").decode()
