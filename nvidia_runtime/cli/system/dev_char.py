# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system create-dev-char-symlinks: links by which systemd finds the driver's nodes.

Without them, containers lose access to their GPUs when systemd is reloaded.
"""

from __future__ import annotations

import os

from plumbum import cli

from nvidia_runtime.cli import environment
from nvidia_runtime.cli.system.device_nodes import MakingNodes
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.host import device_nodes
from nvidia_runtime.host import root as driver_root


class CreateDevCharSymlinks(MakingNodes):
    """Make links in /dev/char to the driver's device nodes, named MAJOR:MINOR."""

    dev_char_path = cli.SwitchAttr(
        ["--dev-char-path"],
        str,
        "",
        help="their folder; default: /dev/char [$DEV_CHAR_PATH]",
    )
    driver_root = cli.SwitchAttr(
        ["--driver-root"],
        str,
        "",
        help="the root of the driver installation and its nodes; default: /"
        " [$NVIDIA_DRIVER_ROOT, $DRIVER_ROOT]",
    )
    create_all = cli.Flag(
        ["--create-all"], help="link to all possible nodes, also missing ones [$CREATE_ALL]"
    )
    load_kernel_modules = cli.Flag(
        ["--load-kernel-modules"],
        help="load the driver's modules first; with --create-all [$LOAD_KERNEL_MODULES]",
    )
    create_device_nodes = cli.Flag(
        ["--create-device-nodes"],
        help="make the control nodes first; with --create-all [$CREATE_DEVICE_NODES]",
    )
    dry_run = cli.Flag(["--dry-run"], help="only print the links and commands [$DRY_RUN]")

    def main(self) -> int:
        """Make the missing links."""
        folder = environment.text(self.dev_char_path, ("DEV_CHAR_PATH",), "/dev/char")
        folder = os.path.abspath(folder)
        variables = ("NVIDIA_DRIVER_ROOT", "DRIVER_ROOT")
        root = os.path.abspath(environment.text(self.driver_root, variables, "/"))
        is_dry = self._is_meant("dry-run")
        if self._is_meant("create-all"):
            self._prepare(root, is_dry)
            nodes = device_nodes.possible()
        else:
            self._warn_of_ignored()
            nodes = device_nodes.present(root)
        if not nodes:
            self.tell(f"no NVIDIA device nodes in {driver_root.join(root, '/dev')}")
            return 0
        self._link(folder, root, nodes, is_dry)
        return 0

    def _prepare(self, root: str, is_dry: bool) -> None:
        if self._is_meant("load-kernel-modules"):
            self.load_modules(root, is_dry)
        if self._is_meant("create-device-nodes"):
            self.make_control_nodes(root, is_dry)

    def _link(
        self, folder: str, root: str, nodes: dict[str, tuple[int, int]], is_dry: bool
    ) -> None:
        if not is_dry:
            _make_folder(folder)
        for path, numbers in nodes.items():
            target = driver_root.join(root, path)
            name = f"{folder}/{numbers[0]}:{numbers[1]}"
            if is_dry:
                self.tell(f"Creating link {name} => {target}")
            elif other := device_nodes.link(folder, numbers, target):
                self.warn(f"{name} is {other}, not a link to {target}; it is left as it is")

    def _warn_of_ignored(self) -> None:
        for name in ("load-kernel-modules", "create-device-nodes"):
            if self._is_meant(name):
                self.warn(f"ignoring --{name}, which needs --create-all")

    def _is_meant(self, name: str) -> bool:
        field = name.replace("-", "_")
        return environment.flag(self, name, getattr(self, field), (field.upper(),))


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
    except OSError as error:
        what = f"cannot make the folder: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=folder) from None
