# SPDX-License-Identifier: Apache-2.0
"""Files in a folder of a container: read if they are regular, replaced whole, never written into.

What exists is never opened for writing: a link, a hard link, a FIFO or a device in a file's place
is replaced, and what it stood for keeps its content.
"""

import errno
import posix
import time

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW
_PATH = posix.O_PATH | posix.O_NOFOLLOW
_TYPE, _REGULAR, _LINK, _FOLDER = 0o170000, 0o100000, 0o120000, 0o040000
_FIFO = 0o010000
# The types of device nodes, as the runtime-spec has them.
_NODES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": _FIFO}
# "." and a random part in front of what fits into a name of 255 bytes.
_LONGEST_NAME = 200
# Seconds; what is written takes milliseconds.
OLD = 600


def open_regular(folder: resolver.Place, name: str) -> int:
    """Open a file to read; a FIFO or a device is never opened, a link never followed.

    Raises `FileNotFoundError`, or an `OSError` as `open_place` does.
    """
    with resolver.Place(folder.entry(name), name) as place:
        return open_place(place)


def open_place(place: resolver.Place) -> int:
    """Open what a path leads to, if it is a regular file with something in it.

    Opening is an act: of a device it may arm a watchdog or load a module, of the kernel's own files
    it may take what others wait for (kmsg), and a lease makes it wait.  So all that is not ours is
    looked at first, by a descriptor that opens nothing, and opened only here.
    """
    status = place.status()
    if status.st_mode & _TYPE != _REGULAR:
        raise OSError(errno.EINVAL, "is not a regular file", place.path)
    if not status.st_size:  # as most files in /proc seem to be
        raise OSError(errno.ENODATA, "is empty", place.path)
    if not status.st_blocks and _is_kernels(place):
        raise OSError(errno.EINVAL, "is a file of the kernel's", place.path)
    flags = posix.O_RDONLY | posix.O_NOCTTY | posix.O_NONBLOCK
    return posix.open(place.by_descriptor(), flags)


def open_hosts(path: str) -> int:
    """Open a file of the host's to read, if it is a regular one; links are followed.

    It is looked at first, too: who may write in a spec dir, say, may put a link to a device there.
    Raises `OSError`, and `NvidiaRuntimeError` for what is neither a regular file nor a folder.
    That /proc is missing must not read as if the file were.
    """
    with resolver.Place(posix.open(resolver.encode(path), posix.O_PATH), path) as place:
        kind = place.status().st_mode & _TYPE
        if kind == _FOLDER:
            raise IsADirectoryError(errno.EISDIR, posix.strerror(errno.EISDIR), path)
        if kind != _REGULAR:
            raise NvidiaRuntimeError("is not a regular file", path)
        try:
            return posix.open(place.by_descriptor(), posix.O_RDONLY | posix.O_NONBLOCK)
        except FileNotFoundError:
            what = "cannot be opened: /proc is not mounted"
            raise NvidiaRuntimeError(what, path, hint="mount -t proc proc /proc") from None


def _is_kernels(place: resolver.Place) -> bool:
    from nvidia_runtime.rootfs import mounts  # other files have blocks

    return mounts.file_system(place) in mounts.KERNEL


def read(folder: resolver.Place, name: str, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes; raises like `open_regular`, and EFBIG."""
    return _read_all(open_regular(folder, name), name, limit)


def read_place(place: resolver.Place, limit: int) -> bytes:
    """Read what a path leads to, under the same conditions."""
    return _read_all(open_place(place), place.path, limit)


def _read_all(descriptor: int, name: str, limit: int) -> bytes:
    try:
        data = b""
        while len(data) <= limit:  # the size that the kernel gave may be another's by now
            # A buffer of the size of the limit would cost more time than the file itself.
            part = posix.read(descriptor, min(limit + 1 - len(data), max(len(data), 1 << 16)))
            if not part:
                return data
            data += part
    finally:
        posix.close(descriptor)
    raise OSError(errno.EFBIG, posix.strerror(errno.EFBIG), name)


def replace(folder: resolver.Place, name: str, data: bytes, mode: int = 0o644) -> bool:
    """Put a file in the place of whatever has the name; say whether there was anything to do.

    Its owner is the folder's, its mode is exact, and nobody sees half of it.  A folder of the
    host's that is mounted at its own place stays as it is.
    """
    if _has(folder, name, data, mode) or folder.is_hosts():
        return False
    into = folder.descriptor
    temporary = _temporary(name)
    opened: list[int] = []
    resolver.as_owner(into, lambda: opened.append(posix.open(temporary, _NEW, 0o600, dir_fd=into)))
    descriptor = opened[0]
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[posix.write(descriptor, rest) :]
            resolver.give(descriptor, posix.fstat(descriptor), folder.status())
            resolver.as_owner(into, lambda: posix.fchmod(descriptor, mode))
        finally:
            posix.close(descriptor)
        _rename(folder, temporary, name)
        _sweep(folder, name)
    except BaseException:
        _remove(folder, temporary)
        raise
    return True


def link(folder: resolver.Place, name: str, target: str) -> bool:
    """Put a symbolic link in the place of whatever has the name, but for a folder.

    Says whether there was anything to do; the target's text is written as it is.  A folder of the
    host's that is mounted at its own place stays as it is.
    """
    if folder.is_hosts():
        return False
    wanted, final = resolver.encode(target), resolver.encode(name)
    try:
        _symlink(folder, wanted, final)
    except FileExistsError:
        if read_link(folder, name) == wanted:
            return False
        temporary = _temporary(name)
        _symlink(folder, wanted, temporary)
        try:
            _rename(folder, temporary, name)
            _sweep(folder, name)
        except BaseException:
            _remove(folder, temporary)
            raise
    return True


def _symlink(folder: resolver.Place, target: bytes, name: bytes) -> None:
    """Make a link with the owner of its folder.

    Its owner may have put another file in its place since: only our link is given away.
    """
    into = folder.descriptor
    resolver.as_owner(into, lambda: posix.symlink(target, name, dir_fd=into))
    above = folder.status()
    if (above.st_uid, above.st_gid) == (posix.geteuid(), posix.getegid()):
        return
    with resolver.Place(posix.open(name, _PATH, dir_fd=into), "") as link:
        status = link.status()
        is_ours = status.st_mode & _TYPE == _LINK and status.st_nlink == 1
        if is_ours and posix.readlink(b"", dir_fd=link.descriptor) == target:
            resolver.give(link.descriptor, status, above)


def node(folder: resolver.Place, name: str, entry: "Document") -> bool:
    """Put a device node in the place of whatever has the name, but for a folder.

    ``entry`` is as the runtime-spec has it: type, major, minor, fileMode, uid and gid.  Says
    whether there was anything to do.  Raises `PermissionError` where nodes cannot be made.
    """
    form = _NODES[entry["type"]]
    number = posix.makedev(entry["major"], entry["minor"]) if form != _FIFO else 0
    final = resolver.encode(name)
    try:
        status = posix.stat(final, dir_fd=folder.descriptor, follow_symlinks=False)
        if (status.st_mode & _TYPE, status.st_rdev) == (form, number):
            return False
    except FileNotFoundError:
        pass
    if folder.is_hosts():
        raise OSError(errno.EROFS, "the folder is the host's own", name)
    temporary = _temporary(name)
    posix.mknod(temporary, form | 0o600, number, dir_fd=folder.descriptor)
    try:
        with resolver.Place(posix.open(temporary, _PATH, dir_fd=folder.descriptor), name) as new:
            status = new.status()
            is_ours = (status.st_mode & _TYPE, status.st_rdev) == (form, number)
            if not is_ours or status.st_nlink != 1:
                raise OSError(errno.EAGAIN, "was exchanged", name)
            ids = entry.get("uid", 0), entry.get("gid", 0)
            if ids != (status.st_uid, status.st_gid):
                posix.chown(new.by_descriptor(), *ids)
            posix.chmod(new.by_descriptor(), entry.get("fileMode", 0o666) & 0o777)
        _rename(folder, temporary, name)
    except BaseException:
        _remove(folder, temporary)
        raise
    return True


def read_link(folder: resolver.Place, name: str) -> bytes | None:
    """Return a link's target, ``None`` for what is missing or not a link."""
    if folder.mounts and (folder.descriptor < 0 or folder.mounts.has(folder.path, name)):
        return None
    try:
        return posix.readlink(resolver.encode(name), dir_fd=folder.descriptor)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def is_free(folder: resolver.Place, name: str) -> bool:
    """Whether a link of the loader's may take a name: what is there is a link, empty, or nothing.

    Empty files are left in an image where a runtime mounted others.
    """
    try:
        encoded = resolver.encode(name)
        status = posix.stat(encoded, dir_fd=folder.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return True
    kind = status.st_mode & _TYPE
    return kind == _LINK or (kind == _REGULAR and not status.st_size)


def _has(folder: resolver.Place, name: str, data: bytes, mode: int) -> bool:
    """Whether a file is already what it is to be: then nothing is written, nor any layer grown."""
    try:
        descriptor = open_regular(folder, name)
    except OSError:
        return False
    try:
        status = posix.fstat(descriptor)
        return (
            status.st_size == len(data)
            and status.st_mode & 0o7777 == mode
            and status.st_nlink == 1
            and posix.read(descriptor, len(data) + 1) == data
        )
    except OSError:
        return False
    finally:
        posix.close(descriptor)


def _temporary(name: str) -> bytes:
    return b".%s.%s" % (resolver.encode(name)[:_LONGEST_NAME], posix.urandom(6).hex().encode())


def _rename(folder: resolver.Place, temporary: bytes, name: str) -> None:
    into, final = folder.descriptor, resolver.encode(name)
    resolver.as_owner(
        into, lambda: posix.rename(temporary, final, src_dir_fd=into, dst_dir_fd=into)
    )


def _sweep(folder: resolver.Place, name: str) -> None:
    """Take away what earlier processes that were killed have left of a file or link."""
    start = f".{name[:_LONGEST_NAME]}."
    for other in folder.names():
        if other.startswith(start) and len(other) == len(start) + 12:
            try:
                status = posix.stat(other, dir_fd=folder.descriptor, follow_symlinks=False)
            except OSError:
                continue
            if status.st_mtime < time.time() - OLD:
                _remove(folder, resolver.encode(other))


def _remove(folder: resolver.Place, temporary: bytes) -> None:
    try:
        posix.unlink(temporary, dir_fd=folder.descriptor)
    except OSError:  # the first error matters
        pass
