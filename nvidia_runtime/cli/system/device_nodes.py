# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system create-device-nodes: the nodes that the driver's programs make at first use."""

from __future__ import annotations

import os
import shlex

from plumbum import cli

from nvidia_runtime.cli import environment
from nvidia_runtime.cli.command import Command
from nvidia_runtime.host import device_nodes, kernel_modules
from nvidia_runtime.host import root as driver_root

ROOT = ("ROOT", "NVIDIA_DRIVER_ROOT", "DRIVER_ROOT")
DEV_ROOT = ("NVIDIA_DEV_ROOT", "DEV_ROOT")


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
    """Make the driver's control nodes: the device nodes that belong to no single GPU."""

    root = cli.SwitchAttr(
        ["--root", "--driver-root"],
        str,
        "",
        help="the root of the driver installation [$ROOT, $NVIDIA_DRIVER_ROOT, $DRIVER_ROOT]",
    )
    dev_root = cli.SwitchAttr(
        ["--dev-root"],
        str,
        "",
        help="the root of /dev; default: the driver root [$NVIDIA_DEV_ROOT, $DEV_ROOT]",
    )
    control_devices = cli.Flag(
        ["--control-devices"], help="make nvidiactl, nvidia-modeset, nvidia-uvm, nvidia-uvm-tools"
    )
    load_kernel_modules = cli.Flag(
        ["--load-kernel-modules"], help="load nvidia, nvidia-uvm and nvidia-modeset first"
    )
    dry_run = cli.Flag(["--dry-run"], help="only print the commands [$DRY_RUN]")

    def main(self) -> int:
        """Load the modules and make the nodes, as requested."""
        root = os.path.abspath(environment.text(self.root, ROOT, "/"))
        dev_root = os.path.abspath(environment.text(self.dev_root, DEV_ROOT, root))
        is_dry = environment.flag(self, "dry-run", self.dry_run, ("DRY_RUN",))
        if self.load_kernel_modules:
            self.load_modules(root, is_dry)
        if self.control_devices:
            self.make_control_nodes(dev_root, is_dry)
        if not (self.load_kernel_modules or self.control_devices):
            self.tell("nothing to do: use --control-devices, or --load-kernel-modules")
        return 0
