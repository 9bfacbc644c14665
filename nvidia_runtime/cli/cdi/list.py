# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi list: the devices that the CDI specs of this host describe.  Ring: elsewhere."""

from __future__ import annotations

from nvidia_runtime.cdi import registry
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs


class List(WithSpecDirs):
    """List the devices that containers can ask for by name."""

    def main(self) -> int:
        """Print the names on stdout; what is wrong with specs goes to stderr."""
        found = registry.read(self.spec_dirs())
        for error in found.errors:
            self.warn(error)
        self.tell(f"found {len(found.devices)} CDI devices")
        for name in sorted(found.devices):
            print(name)
        return 0
