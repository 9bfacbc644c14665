# SPDX-License-Identifier: Apache-2.0
"""A container that exists: its mount namespace, and its root in that as a descriptor.

We enter the namespace only to open the root, and to put mounts there; all else is done by
descriptors from outside.  Even then our own root stays the host's, so that no path of ours leads
through the container's files: /proc is the host's, and so is each module that is imported.
"""

import os
import posix

from nvidia_runtime.errors import NvidiaRuntimeError, os_reason
from nvidia_runtime.linux import namespaces
from nvidia_runtime.prepare.work import NotContainersError, open_root
from nvidia_runtime.rootfs import mounts, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

_PATH = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
ROOT_HINT = "run it as root, or as root in a user namespace"
PID_HINT = "--pid names the container's first process, and ROOTFS the root in its mount namespace"


class Existing:
    """A container, for one process of ours, which ends with it.

    ``root`` is its root; nodes can be made there if it ``has_nodes``.
    """

    __slots__ = ("_here", "_namespace", "_our_root", "_process", "_top", "has_nodes", "pid", "root")

    def __init__(self, pid: int, rootfs: str) -> None:
        """Open the namespaces of a process, and the root; ``pid`` 0 is in ours.

        Raises `NvidiaRuntimeError` for a root that is not a container's.
        """
        self.pid = pid
        self._our_root = os.open("/", _PATH)
        self._namespace = self._here = self._process = -1
        self._top = resolver.Place(self._our_root, "/")
        self.has_nodes = namespaces.are_users_initial()
        if pid:
            self._open_namespaces(pid)
        self.root = self._open_root(rootfs)

    def check(self) -> None:
        """Raise `NvidiaRuntimeError` if its process has ended: the number may be another's now."""
        if self.pid and namespaces.has_ended(self._process):
            raise NvidiaRuntimeError("has ended meanwhile", f"process {self.pid}", PID_HINT)

    def enter(self) -> None:
        """Move to the container's mount namespace; paths are the host's nevertheless."""
        self._move(self._namespace)

    def leave(self) -> None:
        """Move back to our own."""
        self._move(self._here)

    def spec(self) -> "Document":
        """Return what of a config.json can be told of it."""
        kinds = [] if self.has_nodes else [{"type": "user"}]
        return {"root": {"path": self.path()}, "linux": {"namespaces": kinds}}

    def source(self, path: str) -> resolver.Place:
        """Open a file of the host's as its namespace has it, if that has it."""
        return resolver.walk(self._top, path)

    def path(self) -> str:
        """Return a path that means the root, whatever has its name by now."""
        return f"{self.root.by_descriptor()}/."

    def _move(self, namespace: int) -> None:
        if namespace >= 0:
            namespaces.enter(namespace, namespaces.CLONE_NEWNS)
            os.fchdir(self._our_root)
            os.chroot(".")

    def _open_namespaces(self, pid: int) -> None:
        where = f"process {pid}"
        try:
            self._here = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            self._process = os.pidfd_open(pid)
            self._namespace, users = namespaces.opened(pid, self._process, "mnt", "user")
        except OSError as error:
            what = f"its namespaces cannot be opened: {os_reason(error)}"
            raise NvidiaRuntimeError(what, where, hint_of(error)) from None
        if namespaces.is_own(self._namespace, "mnt"):
            what = "shares the host's mount namespace: what is mounted would stay on the host"
            raise NvidiaRuntimeError(what, where, PID_HINT)
        self.has_nodes = self.has_nodes and namespaces.is_own(users, "user")
        os.close(users)

    def _open_root(self, rootfs: str) -> resolver.Place:
        """Open the root in the container's namespace.

        Where our own namespace has a folder by this path it must be the same: the path is the
        engine's, and a container that has changed its root already could lead it elsewhere.
        """
        if rootfs[:1] != "/":
            raise NvidiaRuntimeError("must be an absolute path", rootfs, PID_HINT)
        try:
            if not self.pid:
                return open_root(rootfs)
            ours = _identity(rootfs)
            self._top = self._look_around()
            path = rootfs.rstrip("/")
            folder, name = resolver.walk_to(self._top, path) if path else (self._top, ".")
            root = open_root(f"{folder.by_descriptor()}/{name}")
        except NotContainersError as error:
            raise NvidiaRuntimeError(f"the container's root {error}", rootfs, PID_HINT) from None
        except (OSError, ValueError) as error:
            what = f"the container's root cannot be opened: {os_reason(error)}"
            raise NvidiaRuntimeError(what, rootfs, hint_of(error)) from None
        shown = f"{folder.path.rstrip('/')}/{name}"
        if path and not (ours == _identity_of(root.status()) if ours else shown == path):
            what = f"is another folder for process {self.pid} than for us"
            raise NvidiaRuntimeError(what, rootfs, PID_HINT)
        return root

    def _look_around(self) -> resolver.Place:
        """Open the root of the container's namespace, and its table of mounts."""
        proc = os.open("/proc/self", _PATH)
        namespaces.enter(self._namespace, namespaces.CLONE_NEWNS)
        try:
            top = os.open("/", _PATH)
            mounts.use_table(os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))
        finally:
            os.close(proc)
            self.leave()
        return resolver.Place(top, "/")


def hint_of(error: Exception) -> str:
    """Return what to do where a container cannot be reached."""
    return ROOT_HINT if isinstance(error, PermissionError) else PID_HINT


def _identity(path: str) -> tuple[int, int] | None:
    try:
        return _identity_of(os.stat(path))
    except (OSError, ValueError):
        return None


def _identity_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
