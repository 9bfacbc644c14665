# SPDX-License-Identifier: Apache-2.0
"""A link that is turned while containers are made: each call is that of one tree."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import builders
import pytest
import shim
import waiting

from nvidia_runtime.installer import tree, wrappers

from .node import Node, bundle

pytestmark = shim.needs_root
ENTER = """
/bin/mount -t tmpfs tmpfs /sys/module
/bin/mkdir /sys/module/nvidia
exec "$@"
"""
# Creates, one after the other, until there is a file; each must give its container the device.
LOOP = """
n=0
while [ ! -e "$1/stop" ]; do
  n=$((n + 1))
  cp "$1/template.json" "$1/config.json"
  "$2" create --bundle "$1" "c$n" >"$1/out" 2>"$1/err" </dev/null
  code=$?
  if [ $code != 7 ] || [ -s "$1/err" ] || ! grep -q GPU=zero "$1/config.json"; then
    { echo "create $n: $code"; cat "$1/err"; } >>"$1/wrong"
  fi
  echo "$n" >"$1/count"
done
"""
PAIRS = (
    ("start.begin(start).main()", "start.begin(start).principal()"),
    ("def main()", "def principal()"),
)


def other_bundle(folder: Path) -> Path:
    """Make a bundle whose launcher and package know each other by another name."""
    source = bundle(folder, "9.9")
    files = [*(source / "bin").glob("nvidia-c*"), *source.rglob("nvidia_runtime/runtime.py")]
    for file in files:
        text = file.read_text()
        for old, new in PAIRS:
            text = text.replace(old, new)
        file.write_text(text)
    return source


def creating(node: Node, number: int) -> subprocess.Popen[bytes]:
    """Make containers in the background."""
    folder = node.folder / f"bundle{number}"
    folder.mkdir()
    asking = builders.encode(builders.asking("nvidia.com/gpu=0"))
    (folder / "template.json").write_bytes(asking)
    runtime = node.toolkit / wrappers.RUNTIMES[1]
    words: list[str | Path] = [
        "unshare",
        "--mount",
        "sh",
        "-euc",
        ENTER,
        "sh",
        "sh",
        "-c",
        LOOP,
        "sh",
        folder,
        runtime,
    ]
    env = {
        "PATH": f"{node.runc().parent}:{os.environ['PATH']}",
        "RUNC_ENVIRONMENT": f"{folder}/environment",
    }
    return subprocess.Popen(words, env=env)


@pytest.mark.parametrize("creates", [5, pytest.param(100, marks=pytest.mark.long)])
def test_creates_while_the_link_is_turned(creates: int, node: Node, tmp_path: Path) -> None:
    specs = node.folder / "cdi"
    specs.mkdir()
    spec = builders.cdi_spec(builders.device("0", env=["GPU=zero"]))
    (specs / "nvidia.json").write_bytes(builders.encode(spec))
    trees = []
    for source in (node.source, other_bundle(tmp_path / "other/bundle")):
        wanted = tree.Design(
            bundle=tree.read(str(source)), link=str(node.toolkit), runtimes=("runc",)
        )
        path, _ = tree.place(wanted)
        text = f'[nvidia-container-runtime.modes.cdi]\nspec-dirs = ["{specs}"]\n'
        tree.write(wanted, path, text)
        trees.append(path)
    tree.turn(str(node.toolkit), trees[0])
    creators = [creating(node, number) for number in range(2)]
    turns = itertools.count(1)

    def are_made() -> bool:
        tree.turn(str(node.toolkit), trees[next(turns) % 2])
        counts = [node.folder / f"bundle{number}/count" for number in range(2)]
        return all(file.exists() and int(file.read_text() or 0) >= creates for file in counts)

    try:
        waiting.eventually(are_made, "containers are made")
    finally:
        for number, process in enumerate(creators):
            (node.folder / f"bundle{number}/stop").touch()
            process.wait()

    wrong = [path.read_text() for path in node.folder.glob("bundle*/wrong")]
    assert wrong == []
    assert next(turns) > creates


def test_mixture_would_be_noticed(node: Node, tmp_path: Path) -> None:
    """What the test above excludes is an error where it happens."""
    source = other_bundle(tmp_path / "other/bundle")
    for launcher in (source / "bin").glob("nvidia-c*"):
        text = launcher.read_text()
        launcher.write_text(text.replace(".principal()", ".main()"))
    node.source = source
    node.runc()
    assert node.install("--no-daemon").code == 0
    creator = creating(node, 0)
    file = node.folder / "bundle0/wrong"
    try:
        waiting.eventually(file.exists, "a create fails")
    finally:
        (node.folder / "bundle0/stop").touch()
        creator.wait()
    assert "has no attribute 'main'" in file.read_text()
