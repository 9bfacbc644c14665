# SPDX-License-Identifier: Apache-2.0
"""docker, told by an installation on its node while it runs: no driver yet, and an upgrade.

Without the driver's module containers start by runc alone, whatever they ask for.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import waiting
from installer.node import Node, bundle

from . import configured, docker, processes, rootfs
from .installed import require
from .machine import Machine
from .test_configured import default_of


@pytest.mark.skipif(os.path.exists("/sys/module/nvidia"), reason="the driver is loaded here")
def test_docker(
    machine: Machine, image: Path, containerd_socket: Path, group: str, daemon_env: dict[str, str]
) -> None:
    require("dockerd")
    require("docker")
    require("runc")
    folder = machine.scratch / "cn"
    node = Node(folder, bundle(machine.scratch / "node-bundle/1"))
    settings = docker.settings(folder, containerd=containerd_socket, group=group)
    node.config = folder / "daemon.json"
    node.config.write_text(json.dumps(settings, indent=3))
    before = configured.tree(folder)
    socket = f"--socket={folder}/d.sock"
    node.flags = ["--runtime=docker", f"--config={node.config}", "--restart-mode=signal", socket]

    with docker.daemon_on(node.config, env=daemon_env) as client:
        processes.succeed([*client, "load", "--input", os.fspath(image)])
        run = (*client, "run", "--rm", "--network=none", "--env=NVIDIA_VISIBLE_DEVICES=0")
        with node.installed():
            waiting.eventually(lambda: default_of(client) == "nvidia", "nvidia is the default")
            for runtime in ("nvidia", "nvidia-cdi", "nvidia-legacy"):
                assert configured.lines((*run, f"--runtime={runtime}", rootfs.IMAGE)) == ""
            stays = processes.succeed(
                [*client, "run", "--detach", "--network=none", rootfs.IMAGE, "sleep", "1000"]
            ).strip()
        waiting.eventually(lambda: default_of(client) == "runc", "runc is the default again")
        assert configured.tree(folder) == before

        old = node.tree()
        node.source = bundle(machine.scratch / "node-bundle/2/2", "2.0")
        with node.installed():
            waiting.eventually(lambda: default_of(client) == "nvidia", "nvidia is the default")
            assert "-2.0-" in node.tree().name
            shutil.rmtree(old, ignore_errors=True)  # as the installation does in a while
            # It was started by a tree that has gone, and its engine knows that by the link.
            processes.succeed([*client, "rm", "--force", stays])
        assert configured.tree(folder) == before
    shutil.rmtree(node.local)
