# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk topology: where GPUs and network adapters are in this machine."""

from __future__ import annotations

import json
import sys

from nvidia_runtime.cli import files
from nvidia_runtime.cli.command import Configured
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.compile import config
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host.driver import Driver
from nvidia_runtime.host.machine import Machine
from nvidia_runtime.store.snapshot import DRIVER_ROOT
from nvidia_runtime.topology import devices, document, find, picture, text


class Topology(Configured):
    """nvidia-ctk topology."""

    table = tables.TOPOLOGY
    format: str
    output: str

    def main(self) -> int:
        """Print the topology, or write it to a file."""
        topology = find.topology(Machine(Driver(self._driver_root())))
        said = self._said(topology)
        if self.output:
            files.write(self.output, said.encode())
        else:
            print(said, end="")
        return 0

    def _said(self, topology: devices.Topology) -> str:
        if self.format == "json":
            return json.dumps(document.of(topology), indent=2) + "\n"
        if self.format == "svg":
            return picture.of(topology)
        has_lines = self.output or (sys.stdout.encoding or "").lower().startswith("utf")
        marks = text.LINES if has_lines else text.ASCII
        return "".join(f"{line}\n" for line in text.lines(topology, marks))

    def _driver_root(self) -> str:
        try:
            return str(config.load(self.config_path())[0][DRIVER_ROOT]) or "/"
        except NvidiaRuntimeError as error:
            self.warn(f"{error}; going on with the default settings")
            return "/"
