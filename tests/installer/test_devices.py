# SPDX-License-Identifier: Apache-2.0
"""The CDI spec for managers of GPUs, on a simulated machine; its driver may come later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import shim
import simulated
import waiting
import yaml

from .node import PROGRAM, Node, contents

pytestmark = shim.needs_root
KIND = "management.nvidia.com-gpu.yaml"


def words(node: Node, *more: str) -> list[str]:
    """Return an installation on a simulated machine."""
    flags = (f"--cdi-output-dir={node.folder}/cdi", "--cdi-enabled", *more)
    return simulated.words("t4x1", [sys.executable, "-c", PROGRAM, *node.words(*flags)])


def test_spec_has_the_hosts_paths(node: Node) -> None:
    env = node.environment(DRIVER_ROOT="/x")
    more = ("--no-daemon", "--driver-root=/run/nvidia/driver", "--dev-root-ctr-path=/")
    got = subprocess.run(words(node, *more), capture_output=True, text=True, check=False, env=env)

    assert got.returncode == 0, got.stderr
    spec = yaml.safe_load((node.folder / "cdi" / KIND).read_text())
    assert spec["kind"] == "management.nvidia.com/gpu"
    (device,) = spec["devices"]
    nodes = [one["hostPath"] for one in device["containerEdits"]["deviceNodes"]]
    assert "/run/nvidia/driver/dev/nvidiactl" in nodes
    edits = spec["containerEdits"]
    assert all(mount["hostPath"].startswith("/run/nvidia/driver/") for mount in edits["mounts"])
    assert {hook["path"] for hook in edits["hooks"]} == {f"{node.toolkit}/nvidia-cdi-hook"}


def test_removal_takes_the_spec_unless_it_was_changed(node: Node) -> None:
    before = contents(node.folder)
    env = node.environment()
    for change in (False, True):
        subprocess.run(words(node, "--no-daemon"), capture_output=True, check=True, env=env)
        file = node.folder / "cdi" / KIND
        if change:
            file.write_text("mine\n")
        got = node.install("--remove")

        assert got.code == 0, got.err
        assert file.exists() == change
        assert (f"{file} was changed since and stays" in got.err) == change
    shutil.rmtree(node.folder / "cdi")
    shutil.rmtree(node.run_folder)
    assert contents(node.folder) == before


def test_no_driver_yet(node: Node) -> None:
    file = node.folder / "cdi" / KIND
    with node.installed("--cdi-enabled", f"--cdi-output-dir={file.parent}"):
        assert node.install("--probe").code == 0
        assert not file.exists()


@pytest.mark.parametrize("flag", ["--create-device-nodes=none", "--create-device-nodes="])
def test_no_nodes(flag: str, node: Node) -> None:
    remove = "import os; [os.unlink(f'/dev/{n}') for n in os.listdir('/dev') if n == 'nvidiactl']; "
    argv = [sys.executable, "-c", remove + PROGRAM]
    more = ("--no-daemon", "--cdi-enabled", f"--cdi-output-dir={node.folder}/cdi")
    for flags, is_made in (((), True), ((flag,), False)):
        full = simulated.words("t4x1", [*argv, *node.words(*more, *flags)])
        got = subprocess.run(
            full, capture_output=True, text=True, check=False, env=node.environment()
        )

        assert got.returncode == 0, got.stderr
        assert ("made /dev/nvidiactl" in got.stderr) == is_made


def test_driver_that_comes_later(node: Node) -> None:
    """The spec is written when it is there, by the process that waits."""
    hide = "import os, subprocess, sys; subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/sys/module'], check=True); "
    version = "/proc/driver/nvidia/version"
    code = (
        hide
        + f"os.rename({version!r}, {version!r} + '.x'); os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    )
    ready = node.run_folder / "toolkit.ready"
    more = ("--cdi-enabled", f"--cdi-output-dir={node.folder}/cdi")
    argv = [sys.executable, "-c", code, PROGRAM, *node.words(*more)]
    process = subprocess.Popen(
        simulated.words("t4x1", argv), stderr=subprocess.PIPE, text=True, env=node.environment()
    )
    file = node.folder / "cdi" / KIND
    try:
        waiting.eventually(ready.exists, "the installation is ready", process)
        assert not file.exists()
        enter = ["nsenter", f"--mount=/proc/{process.pid}/ns/mnt", "mv", f"{version}.x", version]
        subprocess.run(enter, check=True)
        waiting.eventually(file.exists, "the spec is written", process)
    finally:
        process.terminate()
        process.communicate()
    assert os.path.exists(file)
