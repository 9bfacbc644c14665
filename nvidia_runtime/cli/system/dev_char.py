# SPDX-License-Identifier: Apache-2.0
"""nvidia-ctk system create-dev-char-symlinks: links by which systemd finds the driver's nodes.

Without them, containers lose access to their GPUs when systemd is reloaded.
"""

from __future__ import annotations

import os

from nvidia_runtime.cli.system.device_nodes import MakingNodes
from nvidia_runtime.cli.tables import host as tables
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.host import device_nodes
from nvidia_runtime.host import root as driver_root


class CreateDevCharSymlinks(MakingNodes):
    """nvidia-ctk system create-dev-char-symlinks."""

    table = tables.CREATE_DEV_CHAR_SYMLINKS
    dev_char_path: str
    driver_root: str
    create_all: bool
    load_kernel_modules: bool
    create_device_nodes: bool
    dry_run: bool

    def main(self) -> int:
        """Make the missing links."""
        folder = os.path.abspath(self.dev_char_path or "/dev/char")
        root = os.path.abspath(self.driver_root or "/")
        if self.create_all:
            self._prepare(root, self.dry_run)
            nodes = device_nodes.possible()
        else:
            self._warn_of_ignored()
            nodes = device_nodes.present(root)
        if not nodes:
            self.tell(f"no NVIDIA device nodes in {driver_root.join(root, '/dev')}")
            return 0
        self._link(folder, root, nodes, self.dry_run)
        return 0

    def _prepare(self, root: str, is_dry: bool) -> None:
        if self.load_kernel_modules:
            self.load_modules(root, is_dry)
        if self.create_device_nodes:
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
            if getattr(self, name.replace("-", "_")):
                self.warn(f"ignoring --{name}, which needs --create-all")


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
    except OSError as error:
        what = f"cannot make the folder: {os_reason(error)}"
        raise NvidiaRuntimeError(what, where=folder) from None
