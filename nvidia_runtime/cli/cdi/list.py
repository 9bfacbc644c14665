# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk cdi list: the devices in the CDI specs of this host."""

from __future__ import annotations

from nvidia_runtime.cdi import registry
from nvidia_runtime.cli import screen
from nvidia_runtime.cli.cdi.dirs import WithSpecDirs
from nvidia_runtime.cli.tables import cdi as tables


class List(WithSpecDirs):
    """nvidia-ctk cdi list."""

    table = tables.LIST
    format: str

    def main(self) -> int:
        """Print the names on stdout, and errors of specs on stderr."""
        specs = registry.read(self.spec_dirs())
        for error in specs.errors:
            self.warn(error)
        self.tell(f"found {len(specs.devices)} CDI devices")
        names = sorted(specs.devices)
        if self.format == "json":
            devices = [{"name": name, "spec": specs.devices[name][0].path} for name in names]
            errors = [str(error) for error in specs.errors]
            screen.print_json({"devices": devices, "errors": errors})
            return 0
        for name in names:
            print(name)
        return 0
