# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system create-device-nodes: what the driver's programs would make when first used.

Ring: elsewhere.
"""

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


class CreateDeviceNodes(Command):
    """Make the device nodes of the driver that are of no single GPU."""

    root = cli.SwitchAttr(
        ["--root", "--driver-root"],
        str,
        "",
        help="the root of the driver [$ROOT, $NVIDIA_DRIVER_ROOT, $DRIVER_ROOT]",
    )
    dev_root = cli.SwitchAttr(
        ["--dev-root"],
        str,
        "",
        help="the root that the nodes get into; by default the driver's"
        " [$NVIDIA_DEV_ROOT, $DEV_ROOT]",
    )
    control_devices = cli.Flag(
        ["--control-devices"], help="make nvidiactl, nvidia-modeset, nvidia-uvm, nvidia-uvm-tools"
    )
    load_kernel_modules = cli.Flag(
        ["--load-kernel-modules"], help="load nvidia, nvidia-uvm and nvidia-modeset first"
    )
    dry_run = cli.Flag(["--dry-run"], help="only say what would be done [$DRY_RUN]")

    def main(self) -> int:
        """Load the modules, make the nodes, whichever is asked for."""
        root = os.path.abspath(environment.text(self.root, ROOT, "/"))
        dev_root = os.path.abspath(environment.text(self.dev_root, DEV_ROOT, root))
        is_dry = environment.flag(self, "dry-run", self.dry_run, ("DRY_RUN",))
        if self.load_kernel_modules:
            load_modules(self, root, is_dry)
        if self.control_devices:
            make_control_nodes(self, dev_root, is_dry)
        if not (self.load_kernel_modules or self.control_devices):
            self.tell("nothing to do: ask for --control-devices, or --load-kernel-modules")
        return 0


def load_modules(command: Command, root: str, is_dry: bool) -> None:
    """Load the driver's modules, or say how that is done."""
    for words in kernel_modules.commands(root):
        if is_dry:
            command.tell(f"Running: {shlex.join(words)}")
        else:
            kernel_modules.load(words)
            command.debug(f"loaded {words[-1]}")


def make_control_nodes(command: Command, dev_root: str, is_dry: bool) -> None:
    """Make the nodes of no single GPU that are not there yet, or say how that is done."""
    for path, numbers in device_nodes.control(device_nodes.majors()).items():
        host_path = driver_root.join(dev_root, path)
        if is_dry:
            major, minor = numbers
            command.tell(f"Running: mknod --mode=0666 {shlex.quote(host_path)} c {major} {minor}")
        elif device_nodes.make(dev_root, path, numbers):
            command.debug(f"made {host_path}")
        elif other := device_nodes.mismatch(dev_root, path, numbers):
            command.warn(f"{host_path} {other}: remove it, and run this again")
        else:
            command.debug(f"found {host_path}")
