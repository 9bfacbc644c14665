# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system create-dev-char-symlinks: links by which systemd knows the driver's nodes.

Without them, a container's access to its GPUs is lost when systemd is reloaded.  Ring: elsewhere.
"""

from __future__ import annotations

import os

from plumbum import cli

from nvidia_runtime.cli import environment
from nvidia_runtime.cli.command import Command
from nvidia_runtime.cli.system import device_nodes as system_device_nodes
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.host import device_nodes
from nvidia_runtime.host import root as driver_root


class CreateDevCharSymlinks(Command):
    """Make links to the driver's device nodes in /dev/char, named by their numbers."""

    dev_char_path = cli.SwitchAttr(
        ["--dev-char-path"], str, "", help="where the links get; /dev/char [$DEV_CHAR_PATH]"
    )
    driver_root = cli.SwitchAttr(
        ["--driver-root"],
        str,
        "",
        help="the root of the driver and its nodes; / [$NVIDIA_DRIVER_ROOT, $DRIVER_ROOT]",
    )
    create_all = cli.Flag(
        ["--create-all"], help="links to all nodes that there can be, there or not [$CREATE_ALL]"
    )
    load_kernel_modules = cli.Flag(
        ["--load-kernel-modules"],
        help="load the driver's modules first; with --create-all [$LOAD_KERNEL_MODULES]",
    )
    create_device_nodes = cli.Flag(
        ["--create-device-nodes"],
        help="make the nodes of no single GPU first; with --create-all [$CREATE_DEVICE_NODES]",
    )
    dry_run = cli.Flag(["--dry-run"], help="only say what would be done [$DRY_RUN]")

    def main(self) -> int:
        """Make the links that are not there yet."""
        folder = environment.text(self.dev_char_path, ("DEV_CHAR_PATH",), "/dev/char")
        folder = os.path.abspath(folder)
        variables = ("NVIDIA_DRIVER_ROOT", "DRIVER_ROOT")
        root = os.path.abspath(environment.text(self.driver_root, variables, "/"))
        is_dry = self._is_meant("dry-run")
        if self._is_meant("create-all"):
            self._prepare(root, is_dry)
            found = device_nodes.possible()
        else:
            self._warn_of_ignored()
            found = device_nodes.present(root)
        if not found:
            self.tell(f"no NVIDIA device nodes in {driver_root.join(root, '/dev')}")
            return 0
        self._link(folder, root, found, is_dry)
        return 0

    def _prepare(self, root: str, is_dry: bool) -> None:
        if self._is_meant("load-kernel-modules"):
            system_device_nodes.load_modules(self, root, is_dry)
        if self._is_meant("create-device-nodes"):
            system_device_nodes.make_control_nodes(self, root, is_dry)

    def _link(
        self, folder: str, root: str, found: dict[str, tuple[int, int]], is_dry: bool
    ) -> None:
        if not is_dry:
            _make_folder(folder)
        for path, numbers in found.items():
            target = driver_root.join(root, path)
            name = f"{folder}/{numbers[0]}:{numbers[1]}"
            if is_dry:
                self.tell(f"Creating link {name} => {target}")
            elif there := device_nodes.link(folder, numbers, target):
                self.warn(f"{name} is {there}, not a link to {target}; it is left as it is")

    def _warn_of_ignored(self) -> None:
        for name in ("load-kernel-modules", "create-device-nodes"):
            if self._is_meant(name):
                self.warn(f"ignoring --{name}, which only --create-all needs")

    def _is_meant(self, name: str) -> bool:
        field = name.replace("-", "_")
        return environment.flag(self, name, getattr(self, field), (field.upper(),))


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
    except OSError as error:
        what = f"cannot make the folder: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=folder) from None
