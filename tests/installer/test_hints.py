# SPDX-License-Identifier: Apache-2.0
"""A hint of the installer's helps: what it names is done, and the installation goes through."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import shim

from .node import Node

pytestmark = shim.needs_root

# What is wrong, the hint, and the flag that it leads to; {folder} is the node's own.
FLAGS = [
    ("--config-source=hope", "it is command, file, or file=/PATH", "--config-source=file"),
    ("--runtime-name=", "the default is nvidia", "--runtime-name=nvidia"),
    ("--create-device-nodes=foo", "it is control or none", "--create-device-nodes=none"),
    (
        "--cdi-kind=/gpu",
        "the default is management.nvidia.com/gpu",
        "--cdi-kind=management.nvidia.com/gpu",
    ),
    (
        "--toolkit-package-type=zip",
        "it has no effect here; leave it out",
        "--toolkit-package-type=deb",
    ),
    (
        "--pid-file={folder}/other.pid",
        "its name has to be toolkit.pid",
        "--pid-file={folder}/o/toolkit.pid",
    ),
    (
        "--pid-file=/proc/1/x/toolkit.pid",
        "--pid-file names another place",
        "--pid-file={folder}/o/toolkit.pid",
    ),
    (
        "--toolkit-source-root=/nowhere",
        "'make bundle' makes one, which --toolkit-source-root names",
        "--toolkit-source-root={source}",
    ),
    (
        "--ready-file=/proc/1/x/ready",
        "--ready-file names another",
        "--ready-file={folder}/o.ready",
    ),
    (
        "--toolkit-install-dir={folder}/a-name-of-more-than-a-first-line-has-room-for"
        "/0123456789012345678901234567890123456789012345678901234567890123456789",
        "--toolkit-install-dir names another",
        "--toolkit-install-dir={folder}/short",
    ),
]


@pytest.mark.parametrize(("wrong", "hint", "right"), FLAGS, ids=[row[1] for row in FLAGS])
def test_flag(wrong: str, hint: str, right: str, node: Node) -> None:
    names = {"folder": node.folder, "source": node.source}

    got = node.install("--no-daemon", wrong.format(**names))
    assert got.code == 1
    assert f"hint: {hint}" in got.err.splitlines()

    followed = node.install("--no-daemon", right.format(**names))
    assert followed.code == 0, followed.err


def test_default_is_a_place(node: Node) -> None:
    got = node.install("--no-daemon", "--toolkit-install-dir=")

    assert "hint: --toolkit-install-dir=/usr/local/nvidia is the default" in got.err
    assert node.install("--no-daemon").code == 0


def test_other_installation(node: Node) -> None:
    with node.installed():
        got = node.install("--no-daemon")
        assert "hint: another installation runs; end it first" in got.err

    assert node.install("--no-daemon").code == 0


def test_arguments(node: Node) -> None:
    got = node.install("--no-daemon", "/a", "/b")

    assert "hint: one is the folder" in got.err
    assert node.install("--no-daemon", node.local).code == 0


def test_launcher_of_another_bundle(node: Node, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(node.source, other, symlinks=True)
    (other / "bin/nvidia-container-runtime").write_text("#!/bin/sh\nexec runc\n")

    got = node.install("--no-daemon", f"--toolkit-source-root={other}")

    assert "hint: install from the bundle of this program" in got.err
    assert node.install("--no-daemon").code == 0


@pytest.mark.parametrize(
    ("mode", "hint"),
    [
        ("systemd", "--restart-mode names another way"),
        ("signal", "--socket names its socket, --restart-mode another way"),
    ],
)
def test_way_of_restarting(mode: str, hint: str, node: Node) -> None:
    node.flags[-1] = f"--restart-mode={mode}"
    socket = f"--socket={node.folder}/nobody.sock"

    got = node.install("--no-daemon", socket, PATH="/nowhere")

    assert got.code == 1
    assert f"hint: {hint}" in got.err.splitlines()
    assert node.install("--no-daemon", "--restart-mode=none").code == 0
