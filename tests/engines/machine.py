# SPDX-License-Identifier: Apache-2.0
"""A machine with two GPUs: device nodes, driver libraries, a CDI spec, and our settings."""

from __future__ import annotations

import json
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A major that Documentation/admin-guide/devices.txt keeps for local use, not NVIDIA's 195: opening
# a granted node must answer ENXIO (no driver), on a machine with GPUs too.
MAJOR = 120
NODES = {"nvidia0": (0, 0o666), "nvidia1": (1, 0o660), "nvidiactl": (255, 0o640)}
LIBRARIES = ("libcuda.so.999.1", "libnvidia-ml.so.999.1")
DATA_FOLDER = "/usr/share/nvidia"
LIBRARY_FOLDER = "/usr/lib/x86_64-linux-gnu"
COMMANDS = frozenset({"create", "start", "exec", "kill", "delete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Our runtime as an engine is told of it: an executable that brings its settings along.

    A script, because engines run their runtime with little of the user's environment.
    """

    path: Path
    calls: Path
    log: Path

    def called(self) -> set[str]:
        """Return the commands that the engine has given so far."""
        return {word for word in self.calls.read_text().split() if word in COMMANDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the parts of the simulated machine are, and the runtime under test."""

    scratch: Path
    shim: Path

    def build(self) -> None:
        """Make the nodes, the libraries and the CDI spec; mknod needs its capability."""
        for folder in ("dev", "lib", "cdi"):
            (self.scratch / folder).mkdir()
        for name, (minor, mode) in NODES.items():
            node = self.scratch / "dev" / name
            os.mknod(node, stat.S_IFCHR, os.makedev(MAJOR, minor))
            node.chmod(mode)
        for name in (*LIBRARIES, "gpu0.txt", "gpu1.txt"):
            (self.scratch / "lib" / name).write_text(f"this is {name}\n")
        (self.scratch / "cdi/nvidia.json").write_text(json.dumps(self.cdi_spec(), indent=2))

    def cdi_spec(self) -> dict[str, Any]:
        """Describe both GPUs as `nvidia-ctk cdi generate` would."""
        first = [self.device_node("nvidia0")], [self.mount("gpu0.txt", DATA_FOLDER)]
        second = [self.device_node("nvidia1")], [self.mount("gpu1.txt", DATA_FOLDER)]
        devices = {"0": first, "1": second, "all": (first[0] + second[0], first[1] + second[1])}
        return {
            "cdiVersion": "0.5.0",
            "kind": "nvidia.com/gpu",
            "devices": [
                {"name": name, "containerEdits": {"deviceNodes": nodes, "mounts": mounts}}
                for name, (nodes, mounts) in devices.items()
            ],
            "containerEdits": {
                "env": ["NVIDIA_VISIBLE_DEVICES=void", "NVCR_TEST=injected"],
                "deviceNodes": [self.device_node("nvidiactl")],
                "mounts": [self.mount(name, LIBRARY_FOLDER) for name in LIBRARIES],
            },
        }

    def device_node(self, name: str) -> dict[str, str]:
        """Describe one device node; numbers and mode are the host's."""
        return {"path": f"/dev/{name}", "hostPath": os.fspath(self.scratch / "dev" / name)}

    def mount(self, name: str, folder: str) -> dict[str, Any]:
        """Describe one file that the container gets, read-only."""
        return {
            "hostPath": os.fspath(self.scratch / "lib" / name),
            "containerPath": f"{folder}/{name}",
            "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
        }

    def write_config(self, file: Path, low_level: str, *, debug: Path | None = None) -> None:
        """Write a config.toml for this machine."""
        lines = [
            "[nvidia-container-runtime]",
            'mode = "cdi"',
            f"runtimes = [{json.dumps(low_level)}]",
            *([] if debug is None else [f"debug = {json.dumps(os.fspath(debug))}"]),
            "[nvidia-container-runtime.modes.cdi]",
            f"spec-dirs = [{json.dumps(os.fspath(self.scratch / 'cdi'))}]",
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))

    def runtime(self, name: str, low_level: str, *, debug: bool = False) -> Runtime:
        """Make a runtime for one engine, with its own config.toml and note of its calls."""
        folder = self.scratch / "runtimes" / name
        log = folder / "debug.log"
        self.write_config(folder / "config.toml", low_level, debug=log if debug else None)
        script = folder / "nvidia-container-runtime"
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$*" >>{shlex.quote(os.fspath(folder / "calls"))}\n'
            f"export NVIDIA_CTK_CONFIG_FILE_PATH={shlex.quote(os.fspath(folder / 'config.toml'))}\n"
            f'exec {shlex.quote(os.fspath(self.shim))} "$@"\n'
        )
        script.chmod(0o755)
        return Runtime(path=script, calls=folder / "calls", log=log)
