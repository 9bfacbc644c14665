# SPDX-License-Identifier: Apache-2.0
"""Paths of a container, resolved inside its root whatever links its image holds.

The root is a descriptor.  Each component is opened by itself, without following it; links are
expanded here, and ``..`` goes back to the descriptor that we came from, so nothing that an image
holds, or that is renamed meanwhile, leads out (openat2's RESOLVE_IN_ROOT, but without
ctypes, which costs 2.7 ms).
"""

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nvidia_runtime.rootfs.coming_mounts import ComingMounts

# As many links as the kernel follows, path_resolution(7), and as long a path.
MOST_LINKS = 40
LONGEST = 4096
# Of all links' targets together; the kernel has no such limit, but follows ten times as fast.
MOST_STEPS = 256
# In one folder; a distribution's largest has some thousands.
MOST_NAMES = 64 << 10
FOLDER_MODE = 0o755
_PATH = posix.O_PATH | posix.O_NOFOLLOW
_FOLDER = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NONBLOCK
_TYPE, _LINK, _DIRECTORY = 0o170000, 0o120000, 0o040000


class Place:
    """What a path leads to: an ``O_PATH`` descriptor, and the path without links, dots and slashes.

    The path is the container's, and only a name: what is done is done to the descriptor.  With
    ``mounts`` it is seen as it is going to be; of a folder that will be made the descriptor is -1.
    """

    __slots__ = ("_is_hosts", "descriptor", "mounts", "path")

    def __init__(self, descriptor: int, path: str, mounts: "ComingMounts | None" = None) -> None:
        self.descriptor = descriptor
        self.path = path
        self.mounts = mounts
        self._is_hosts: bool | None = None

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            posix.close(self.descriptor)

    def status(self) -> posix.stat_result:
        """Return what the kernel says of it now."""
        return posix.fstat(self.descriptor)

    def is_hosts(self) -> bool:
        """Whether it is what the host has by the same path: it was mounted there, and stays."""
        if self._is_hosts is None:  # asked for each link of a folder
            try:
                host = posix.stat(encode(self.path))
                status = self.status()
                self._is_hosts = (host.st_dev, host.st_ino) == (status.st_dev, status.st_ino)
            except (OSError, ValueError):
                self._is_hosts = False
        return self._is_hosts

    def by_descriptor(self) -> str:
        """Return a path that means this very inode, for calls that take no descriptor."""
        return f"/proc/self/fd/{self.descriptor}"

    def names(self) -> list[str]:
        """List a folder, in the order of names; of one with more than `MOST_NAMES`, any of them."""
        names = set(self.mounts.names(self.path)) if self.mounts else set()
        if self.descriptor < 0:
            return sorted(names)
        folder = posix.open(".", _FOLDER, dir_fd=self.descriptor)
        try:
            with posix.scandir(folder) as entries:
                for entry in entries:
                    names.add(entry.name)
                    if len(names) >= MOST_NAMES:
                        break
        finally:
            posix.close(folder)
        return sorted(names)

    def entry(self, name: str) -> int:
        """Open what has a name in the folder by ``O_PATH``, without following it."""
        opened = self.mounts.open(f"{self.path.rstrip('/')}/{name}") if self.mounts else None
        if opened is not None:
            return opened
        return posix.open(encode(name), _PATH, dir_fd=self.descriptor)


def open_root(path: str) -> Place:
    """Open a container's root; its own path is the host's and may hold links."""
    return Place(posix.open(encode(path), posix.O_PATH | posix.O_DIRECTORY), "/")


def walk(root: Place, path: str, *, make: bool = False, mode: int = FOLDER_MODE) -> Place:
    """Resolve a path, its last component too; with ``make``, make the folders that are missing.

    One loop, longer than others: what it does is only safe if no step is left out.
    Only folders that the path itself names are made: a link of the image to nowhere stays one.
    Raises `OSError` as a system call would.
    """
    pending = _components(encode(path))
    own = len(pending)  # below are the path's own components, above those of links
    descriptors = [posix.dup(root.descriptor)]
    names: list[bytes] = []
    links = steps = 0
    try:
        while pending:
            name = pending.pop()
            is_own = len(pending) < own
            own = min(own, len(pending))
            if name == b".":
                continue
            if name == b"..":
                if names:
                    names.pop()
                    _close(descriptors.pop())
                continue
            try:
                if root.mounts:
                    shown = b"/%s" % b"/".join([*names, name])
                    opened = open_below(root.mounts, descriptors[-1], decode(shown), name)
                else:
                    opened = posix.open(name, _PATH, dir_fd=descriptors[-1])
            except FileNotFoundError:
                if not (make and is_own):
                    raise
                opened = _make_folder(descriptors[-1], names, name, mode)
            kind = posix.fstat(opened).st_mode & _TYPE if opened >= 0 else _DIRECTORY
            if kind != _LINK:
                descriptors.append(opened)
                names.append(name)
                if kind != _DIRECTORY and pending:
                    raise NotADirectoryError(errno.ENOTDIR, posix.strerror(errno.ENOTDIR), path)
                continue
            target = _read_link(opened)
            expanded = _components(target)
            links += 1
            steps += len(expanded)
            if links > MOST_LINKS or steps > MOST_STEPS:
                raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), path)
            if target[:1] == b"/":
                names.clear()
                while len(descriptors) > 1:
                    _close(descriptors.pop())
            pending += expanded
        return Place(descriptors.pop(), "/" + decode(b"/".join(names)), root.mounts)
    finally:
        for descriptor in descriptors:
            _close(descriptor)


def _read_link(opened: int) -> bytes:
    try:
        return posix.readlink(b"", dir_fd=opened)
    finally:
        posix.close(opened)


def open_below(mounts: "ComingMounts", folder: int, path: str, name: bytes) -> int:
    """Open what will have a name in a folder, ``path`` as a whole, without following it.

    Of a folder that will be made for a mount below it, it is -1.
    """
    try:
        opened = mounts.open(path)
        if opened is not None:
            return opened
        if folder < 0:
            raise FileNotFoundError(errno.ENOENT, posix.strerror(errno.ENOENT), path)
        return posix.open(name, _PATH, dir_fd=folder)
    except FileNotFoundError:
        if not mounts.is_above(path):
            raise
        return -1


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        posix.close(descriptor)


def walk_to(root: Place, path: str, *, make: bool = False) -> tuple[Place, str]:
    """Resolve the folder of what a path names; return it and the last component, link or not.

    Raises `ValueError` for a path that names nothing in a folder: ``/``, ``x/`` or ``x/..``.
    """
    folder, _, name = path.rpartition("/")
    if name in ("", ".", "..") or "\0" in path:
        raise ValueError(f"{path!r} names no file")
    return walk(root, folder, make=make), name


def _components(path: bytes) -> list[bytes]:
    if len(path) > LONGEST:
        raise OSError(errno.ENAMETOOLONG, posix.strerror(errno.ENAMETOOLONG))
    names = [name for name in path.split(b"/") if name]
    if path[-1:] == b"/":
        names.append(b".")  # what comes before has to be a folder
    names.reverse()
    return names


def _make_folder(parent: int, above: list[bytes], name: bytes, mode: int) -> int:
    """Make a folder with exactly this mode, and its parent's owner; return its descriptor.

    Who may write to the parent can put anything in its place before it is opened: a folder of
    root's keeps its owner and mode, and anything else is met as if it had been there before.
    """
    if Place(parent, "/" + decode(b"/".join(above))).is_hosts():
        raise OSError(errno.EROFS, "the folder is the host's own", name)
    umask = posix.umask(0)
    try:
        as_owner(parent, lambda: posix.mkdir(name, mode, dir_fd=parent))
    except FileExistsError:  # another process was faster
        return posix.open(name, _PATH, dir_fd=parent)
    finally:
        posix.umask(umask)
    folder = posix.open(name, _PATH, dir_fd=parent)
    try:
        status, owner = posix.fstat(folder), posix.fstat(parent)
        if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
            is_ours = status.st_mode & (_TYPE | 0o777) == _DIRECTORY | mode
            if is_ours and status.st_dev == owner.st_dev and _is_empty(folder):
                give(folder, status, owner)
    except BaseException:
        posix.close(folder)
        raise
    return folder


def _is_empty(folder: int) -> bool:
    opened = posix.open(".", _FOLDER, dir_fd=folder)
    try:
        with posix.scandir(opened) as entries:
            return next(entries, None) is None
    finally:
        posix.close(opened)


def give(descriptor: int, status: posix.stat_result, above: posix.stat_result) -> None:
    """Make the owner of its folder the owner of what we have made, where that can be done.

    It is what the descriptor says, never what has its name; ``status`` is its own.  A rootless
    engine cannot give anything to a group that it has no part in.
    """
    ids = above.st_uid, above.st_gid
    if ids == (status.st_uid, status.st_gid) or status.st_uid != posix.geteuid():
        return
    try:
        posix.chown(f"/proc/self/fd/{descriptor}", *ids)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise


def as_owner(folder: int, call: "Callable[[], None]") -> None:
    """Make a call that makes something in a folder; as the folder's owner where root has no id.

    On an idmapped mount the host's root has no id, and the kernel says EOVERFLOW.
    """
    try:
        call()
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        owner = posix.fstat(folder)
        uid, gid = posix.geteuid(), posix.getegid()
        posix.setegid(owner.st_gid)
        try:
            posix.seteuid(owner.st_uid)
            try:
                call()
            finally:
                posix.seteuid(uid)
        finally:
            posix.setegid(gid)


def decode(path: bytes) -> str:
    """Decode a path as documents are decoded."""
    return path.decode("utf-8", "surrogateescape")


def encode(path: str) -> bytes:
    """Encode a path as documents are encoded, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")
