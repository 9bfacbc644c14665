# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system create-device-nodes: the nodes that the driver's programs make at first use."""

from __future__ import annotations

import os
import shlex

from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.host import device_nodes, kernel_modules
from nvidia_runtime.host import root as driver_root


class MakingNodes(Command):
    """A command that can load the driver's modules and make the control nodes."""

    def load_modules(self, root: str, is_dry: bool) -> None:
        """Load the driver's modules, or print the commands."""
        for words in kernel_modules.commands(root):
            if is_dry:
                self.tell(f"Running: {shlex.join(words)}")
            else:
                kernel_modules.load(words)
                self.debug(f"loaded {words[-1]}")

    def make_control_nodes(self, dev_root: str, is_dry: bool) -> None:
        """Make the missing control nodes, or print the commands."""
        for path, numbers in device_nodes.control(device_nodes.majors()).items():
            host_path = driver_root.join(dev_root, path)
            if is_dry:
                node = f"{shlex.quote(host_path)} c {numbers[0]} {numbers[1]}"
                self.tell(f"Running: mknod --mode=0666 {node}")
            elif device_nodes.make(dev_root, path, numbers):
                self.debug(f"made {host_path}")
            elif other := device_nodes.mismatch(dev_root, path, numbers):
                self.warn(f"{host_path} {other}: remove it, and run this again")
            else:
                self.debug(f"found {host_path}")


class CreateDeviceNodes(MakingNodes):
    """nvidia-ctk system create-device-nodes."""

    table = tables.CREATE_DEVICE_NODES
    root: str
    dev_root: str
    control_devices: bool
    load_kernel_modules: bool
    dry_run: bool

    def main(self) -> int:
        """Load the modules and make the nodes, as requested."""
        root = os.path.abspath(self.root or "/")
        dev_root = os.path.abspath(self.dev_root or root)
        if self.load_kernel_modules:
            self.load_modules(root, self.dry_run)
        if self.control_devices:
            self.make_control_nodes(dev_root, self.dry_run)
        if not (self.load_kernel_modules or self.control_devices):
            self.tell("nothing to do: use --control-devices, or --load-kernel-modules")
        return 0
