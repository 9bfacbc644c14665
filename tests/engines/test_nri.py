# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk nri and containerd: pods get their GPUs by annotations, by runc alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import shim
import waiting

from . import cri, installed
from . import pods as containerd_of_pods
from .machine import Machine
from .pods import Pods

SECTION = containerd_of_pods.PLUGINS[3]
# Since then a plugin may name CDI devices.
SINCE = (2, 1)
PROGRAM = "from nvidia_runtime.cli import main; main()"


def configuration(folder: Path, specs: Path) -> str:
    """Return a config.toml with NRI on, whose sockets are in a folder."""
    text = containerd_of_pods.text(folder, 3).replace(', "io.containerd.nri.v1.nri"', "", 1)
    text = text.replace(f"\n[{SECTION}]\n", f'\n[{SECTION}]\ncdi_spec_dirs = ["{specs}"]\n', 1)
    return text + (
        '\n[plugins."io.containerd.nri.v1.nri"]\ndisable = false\n'
        f'socket_path = "{folder}/nri.sock"\n'
        f'plugin_path = "{folder}/plugins"\nplugin_config_path = "{folder}/conf"\n'
    )


def start(service: cri.Cri, annotations: dict[str, str]) -> str:
    """Start a pod with annotations; return the environment of its container."""
    pod = service.start_pod(annotations=annotations)
    try:
        return pod.start(gpus=None).exec("env").stdout
    finally:
        pod.remove()


def test_pods(pods: Pods, machine: Machine) -> None:
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    if installed.version_of("containerd")[:2] < SINCE:
        pytest.skip("containerd before 2.1 takes no CDI devices of a plugin")
    folder = machine.scratch / "nri"
    folder.mkdir()
    (folder / "cdi").mkdir()
    device = {"name": "0", "containerEdits": {"env": ["GPU=zero"]}}
    spec = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [device]}
    (folder / "cdi/gpu.json").write_text(json.dumps(spec))
    file = folder / "config.toml"
    file.write_text(configuration(folder, folder / "cdi"))
    words = [sys.executable, "-c", PROGRAM, "nri", f"--nri-socket={folder}/nri.sock"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(shim.TREE)}

    with pods.daemon(file) as service, (folder / "said").open("w") as said:
        assert "GPU=" not in start(service, {"nvidia.cdi.k8s.io/pod": "nvidia.com/gpu=0"})
        with subprocess.Popen(words, env=env, stderr=said) as process:
            try:
                waiting.eventually(
                    lambda: "registered with" in (folder / "said").read_text(), "it registers"
                )
                assert "GPU=zero" in start(service, {"nvidia.cdi.k8s.io/pod": "nvidia.com/gpu=0"})
                assert "GPU=zero" in start(
                    service, {"nvidia.cdi.k8s.io/container.c": "nvidia.com/gpu=0"}
                )
                assert "GPU=" not in start(service, {})
                with pytest.raises(cri.refused(), match="no device name"):
                    start(service, {"nvidia.cdi.k8s.io": "0"})
            finally:
                process.terminate()
                assert process.wait() == 0
