# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk nri: a service by which containerd and cri-o inject without a runtime class."""

from __future__ import annotations

import time

from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import nri as tables
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.nri import plugin, service

HIGHEST = 99


class Nri(Command):
    """nvidia-ctk nri."""

    table = tables.NRI
    index: int
    socket: str
    namespace: str
    namespaces: list[str]

    def main(self) -> int:
        """Serve until SIGTERM."""
        if not 0 <= self.index <= HIGHEST:
            raise NvidiaRuntimeError(f"--nri-plugin-index must be in the range [0,{HIGHEST}]")
        others = (name.strip() for names in self.namespaces for name in names.split(","))
        trusted = frozenset(filter(None, [self.namespace, *others]))
        nvidia = plugin.Plugin(
            name=tables.NAME, index=self.index, trusted=trusted, say=self._say, debug=self.debug
        )
        service.run(nvidia, self.socket)
        return 0

    def _say(self, text: str) -> None:
        self.tell(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}")
