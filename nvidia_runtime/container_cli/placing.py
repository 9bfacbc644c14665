# SPDX-License-Identifier: Apache-2.0
"""Nodes and mounts in a container that exists, by descriptors, and how they are taken back.

What is mounted has been copied by the host's paths; where it goes is opened below the root by the
confined resolver, which follows no link out of it.  In between no path is looked up: who exchanges
folders and links meanwhile moves what is his own.
"""

import errno
import os
import posix

from nvidia_runtime.container_cli.copies import Copy
from nvidia_runtime.container_cli.existing import ROOT_HINT
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy
from nvidia_runtime.linux import trees
from nvidia_runtime.oci import edit
from nvidia_runtime.rootfs import application_profile, files, mounts, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.container_cli.existing import Existing
    from nvidia_runtime.document import Document

_TYPE, _FOLDER, _LINK = 0o170000, 0o040000, 0o120000
# Of the empty file over which one is mounted.
TARGET_MODE = 0o644
# The kernel's own files by which the driver is asked; nothing else of the kernel's is covered.
DRIVER, PROC = "/proc/driver/nvidia/", "proc"
DEV, MEMORY = "/dev", "tmpfs"
PROFILE = f"{application_profile.FOLDER}/{application_profile.NAME}"
HINT = "mend that place in the image, or among the container's volumes"


class Placing:
    """What is put into a container, and how much of it is there by now."""

    __slots__ = ("_container", "_copies", "_kinds", "_mounted", "_nodes", "done", "warnings")

    def __init__(self, container: "Existing", warnings: list[str]) -> None:
        self.warnings = warnings
        self.done: list[str] = []
        self._container = container
        self._copies: list[Copy] = []
        self._mounted: list[int] = []
        self._nodes: list[tuple[str, int]] = []
        self._kinds: dict[int, str] = {}

    def make_nodes(self, nodes: "list[Document]", sources: dict[str, str]) -> None:
        """Make device nodes; where none can be made, the host's will be mounted.

        ``sources`` are the paths of nodes on the host, by those in the container.
        """
        for node in nodes:
            path: str = node["path"]
            if not (self._container.has_nodes and self._make_node(path, node)):
                self._copies.append(Copy(sources.get(path, path), path, 0))
        if self._nodes:
            self.done.append(f"made {len(self._nodes)} device nodes")

    def copy(self, listed: "list[Document]") -> None:
        """Copy what is to be mounted, in the order in which a runtime would mount it."""
        for mount in sorted(listed, key=edit.depth):
            options = mount.get("options") or ()
            flags = sum(bit for word, bit in trees.FLAGS.items() if word in options)
            self._copies.append(Copy(mount["source"], mount["destination"], flags))

    def mount(self) -> None:
        """Mount everything, in the container's mount namespace."""
        for copy in self._copies:
            try:
                self._mount(copy)
            except (OSError, ValueError) as error:
                if copy.path.startswith(DRIVER) and isinstance(error, FileNotFoundError):
                    self.warnings.append(f"{copy.path} is not in the container: it stays as it is")
                    continue
                if copy.path == PROFILE:  # few programs read it
                    self.warnings.append(f"{copy.path} cannot be mounted: {os_reason(error)}")
                    continue
                what = f"cannot be mounted: {os_reason(error)}"
                raise NvidiaRuntimeError(what, copy.path, _hint(error)) from None
        self.done.append(f"mounted {len(self._mounted)} files, folders and nodes")

    def take_back(self) -> None:
        """Unmount what was mounted, and remove nodes that were made, as far as that can be done."""
        for mounted in reversed(self._mounted):
            try:
                trees.detach(mounted)
            except OSError:  # the first error matters
                continue
        for path, number in self._nodes:
            try:
                folder, name = resolver.walk_to(self._container.root, path)
                with folder:
                    status = posix.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
                    if status.st_rdev == number:
                        posix.unlink(name, dir_fd=folder.descriptor)
            except (OSError, ValueError):
                continue

    def _make_node(self, path: str, node: "Document") -> bool:
        """Make a node; say whether it is there then."""
        try:
            folder, name = resolver.walk_to(self._container.root, path, make=True)
            with folder:
                self._check(folder, path)
                if not self._takes_nodes(folder):
                    return False
                if files.node(folder, name, node):
                    status = posix.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
                    self._nodes.append((path, status.st_rdev))
        except PermissionError:
            return False
        except (OSError, ValueError) as error:
            what = f"the device node cannot be made: {os_reason(error)}"
            raise NvidiaRuntimeError(what, path, _hint(error)) from None
        return True

    def _takes_nodes(self, folder: resolver.Place) -> bool:
        """Whether nodes in a folder work, and are gone with the container.

        That is in its /dev alone, in memory: not in its image, nor in a volume of the host's.
        """
        device = folder.status().st_dev
        try:
            with resolver.walk(self._container.root, DEV) as dev:
                is_own = device == dev.status().st_dev != self._container.root.status().st_dev
        except OSError:  # it has none
            return False
        is_gone = is_own and self._kind(folder) == MEMORY
        return is_gone and not os.fstatvfs(folder.descriptor).f_flag & os.ST_NODEV

    def _mount(self, copy: Copy) -> None:
        with self._target(copy) as target:
            status = target.status()
            if copy.is_at(status):
                return  # it is mounted there already
            kind = status.st_mode & _TYPE
            if kind == _LINK or (kind == _FOLDER) != copy.is_folder():
                raise OSError(errno.ENOTDIR, "is of another type than what is mounted", copy.path)
            self._check(target, copy.path)
            if not copy.is_copied:
                self._bind(copy, target)
                return
            trees.put(copy.tree, target.descriptor)
            self._mounted.append(copy.tree)
            if not copy.is_ready:
                trees.remount(copy.tree, copy.flags)

    def _target(self, copy: Copy) -> resolver.Place:
        """Open what will be covered; an empty file or folder is made where there is nothing."""
        root = self._container.root
        try:
            return resolver.walk(root, copy.path)
        except FileNotFoundError:  # nothing, or a link to nothing
            if copy.path.startswith(DRIVER):
                raise
            if copy.is_folder():
                return resolver.walk(root, copy.path, make=True)
        folder, name = resolver.walk_to(root, copy.path, make=True)
        with folder:
            self._check(folder, copy.path)
            files.replace(folder, name, b"", TARGET_MODE)
            return resolver.Place(folder.entry(name), copy.path)

    def _bind(self, copy: Copy, target: resolver.Place) -> None:
        """Mount without a copy: source and target are looked at in the container's namespace."""
        with self._container.source(copy.source) as source:
            if not copy.is_at(source.status()):
                raise OSError(errno.ESTALE, "is another file for the container", copy.source)
            trees.bind(source.descriptor, target.descriptor)
        with resolver.walk(self._container.root, copy.path) as mounted:
            if not copy.is_at(mounted.status()):
                raise OSError(errno.ESTALE, "was exchanged meanwhile", copy.path)
            self._mounted.append(os.dup(mounted.descriptor))
            trees.remount(mounted.descriptor, copy.flags)

    def _check(self, place: resolver.Place, path: str) -> None:
        """Refuse to cover the kernel's own files, to which an image's link may lead.

        Who could mount over what a runtime writes to, in /proc, would undo what it does there
        (CVE-2019-16884).
        """
        kind = self._kind(place)
        is_drivers = path.startswith(DRIVER) and place.path == path and kind == PROC
        if (kind in mounts.KERNEL or path.startswith(DRIVER)) and not is_drivers:
            raise OSError(errno.EINVAL, f"is in a file system of the kernel's: {kind}", path)

    def _kind(self, place: resolver.Place) -> str:
        """Return the type of the file system that a place is on."""
        device = place.status().st_dev
        if device not in self._kinds:
            self._kinds[device] = mounts.file_system(place)
        return self._kinds[device]


def _hint(error: Exception) -> str:
    return ROOT_HINT if isinstance(error, PermissionError) else remedy(error) or HINT
