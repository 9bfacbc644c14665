# SPDX-License-Identifier: Apache-2.0
"""A bundle's config.json on the disk: read once, replaced as a whole or not at all."""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError, os_reason, remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nvidia_runtime.document import Document

# The largest message that containerd and dockerd can pass around is 16 MiB.
LARGEST = 32 << 20
MARK = ".nvidia-"
NEW_FILE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW


class Bundle:
    """A config.json that was read: its path, its document, its mode and owner."""

    __slots__ = ("gid", "mode", "path", "spec", "uid")

    def __init__(self, path: str, spec: "Document", stat: posix.stat_result) -> None:
        self.path = path
        self.spec = spec
        self.mode = stat.st_mode & 0o7777
        self.uid = stat.st_uid
        self.gid = stat.st_gid


def read(folder: str, name: str = "config.json") -> Bundle:
    """Read the configuration in ``folder``; an empty folder name is the working directory."""
    path = f"{folder.rstrip('/')}/{name}" if folder and name[:1] != "/" else name
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK)  # no waiting on a FIFO
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    try:
        stat = posix.fstat(descriptor)
        if stat.st_mode & 0o170000 != 0o100000:
            raise NvidiaRuntimeError("is not a regular file", where=path, hint=HINT)
        data = _read_all(descriptor, stat.st_size, path)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        posix.close(descriptor)
    spec = document.loads(data, path, HINT)
    if not isinstance(spec, dict):
        raise NvidiaRuntimeError(
            f"must be a JSON object, not {document.kind(spec)}", where=path, hint=HINT
        )
    return Bundle(path, spec, stat)


def root_path(spec: "Document", folder: str) -> str:
    """Return the absolute path of the container's root, "" where config.json does not say it.

    A relative one is in the bundle ``folder``, "" for the working directory.
    """
    root = spec.get("root")
    path = root.get("path") if type(root) is dict else None
    return absolute(path, folder) if type(path) is str and path else ""


def absolute(path: str, folder: str) -> str:
    """Return the absolute path of what is named in a bundle."""
    if path[:1] != "/" and folder:
        path = f"{folder}/{path}"
    return path if path[:1] == "/" else f"{posix.getcwd()}/{path}"


def mounts(spec: "Document") -> "list[Document]":
    """Return the mounts of a config.json; the low-level runtime judges those that are none."""
    present = spec.get("mounts")
    listed = present if type(present) is list else ()
    return [one for one in listed if type(one) is dict and type(one.get("destination")) is str]


def devices(spec: "Document") -> "list[Document]":
    """Return the device nodes of a config.json; the low-level runtime judges what is none."""
    linux = spec.get("linux")
    present = linux.get("devices") if type(linux) is dict else None
    listed = present if type(present) is list else ()
    return [one for one in listed if type(one) is dict and type(one.get("path")) is str]


def unmapped(spec: "Document", gids: list[int]) -> list[int]:
    """Return those of some groups that the container's user namespace does not have.

    setgroups(2) would fail with EINVAL, and the container with it.  Without a namespace of its own
    it is in ours, which is a rootless engine's.
    """
    linux = spec.get("linux")
    namespaces = linux.get("namespaces") if type(linux) is dict else None
    listed = namespaces if type(namespaces) is list else ()
    kinds = [one.get("type") for one in listed if type(one) is dict]
    mappings = linux.get("gidMappings") if type(linux) is dict and "user" in kinds else None
    ranges: list[tuple[object, object]] = []
    if type(mappings) is list and mappings:
        for entry in mappings:
            if type(entry) is dict:
                ranges.append((entry.get("containerID", 0), entry.get("size", 0)))
    elif "user" not in kinds:
        ranges = _own_ranges()
    if not ranges or any(type(number) is not int for both in ranges for number in both):
        return []  # of a namespace that is joined nothing is known; the low-level runtime judges
    lost = set(gids)
    for first, size in ranges:
        lost -= {gid for gid in lost if first <= gid < first + size}  # type: ignore[operator]
    return [gid for gid in gids if gid in lost]


def _own_ranges() -> list[tuple[object, object]]:
    try:
        descriptor = posix.open("/proc/self/gid_map", posix.O_RDONLY)
    except OSError:
        return []
    try:
        words = posix.read(descriptor, 1 << 16).split()
    finally:
        posix.close(descriptor)
    return [(int(words[at]), int(words[at + 2])) for at in range(0, len(words) - 2, 3)]


HINT = "the engine or 'runc spec' writes this file; see the OCI runtime-spec, config.md"


def _read_all(descriptor: int, size: int, path: str) -> bytes:
    if size > LARGEST:
        raise NvidiaRuntimeError(
            f"is too large: {size} bytes, the limit is {LARGEST}", where=path, hint=HINT
        )
    data = posix.read(descriptor, size + 1)
    while part := posix.read(descriptor, 1 << 12):  # mostly there is no more
        data += part
        if len(data) > LARGEST:
            raise NvidiaRuntimeError(
                f"is too large: the limit is {LARGEST} bytes", where=path, hint=HINT
            )
    return data


def _unreadable(path: str, error: OSError | ValueError) -> NvidiaRuntimeError:
    return NvidiaRuntimeError(
        f"cannot read the container's configuration: {os_reason(error)}",
        where=path,
        hint=remedy(error)
        or "--bundle must name a folder with a config.json; the default is the working directory",
    )


def write(bundle: Bundle) -> None:
    """Replace config.json by the edited document, in one step; its mode and owner stay."""
    try:
        data = document.dumps(bundle.spec)
    except (ValueError, RecursionError):
        what = "has a number out of range, or is nested too deeply, to be written again"
        raise NvidiaRuntimeError(what, where=bundle.path, hint=HINT) from None
    temporary = f"{bundle.path}{MARK}{posix.getpid()}"
    try:
        try:
            descriptor = posix.open(temporary, NEW_FILE, 0o600)
        except FileExistsError:  # of a process that was killed here
            posix.unlink(temporary)
            descriptor = posix.open(temporary, NEW_FILE, 0o600)
    except OSError as error:
        raise _unwritable(bundle.path, error) from None
    try:
        try:
            _fill(descriptor, data, bundle)
        finally:
            posix.close(descriptor)
        posix.rename(temporary, bundle.path)
    except OSError as error:
        posix.unlink(temporary)
        raise _unwritable(bundle.path, error) from None


def leftovers(bundle: Bundle) -> tuple[str, str]:
    """Return where killed creates leave their files, and how the names of these begin."""
    folder, _, name = bundle.path.rpartition("/")
    return folder or ".", name + MARK


def _fill(descriptor: int, data: bytes, bundle: Bundle) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[posix.write(descriptor, rest) :]
    new = posix.fstat(descriptor)
    if new.st_uid != bundle.uid or new.st_gid != bundle.gid:
        try:
            posix.fchown(descriptor, bundle.uid, bundle.gid)
        except OSError as error:  # a group in which a rootless engine has no part
            from errno import EINVAL, EPERM  # few bundles are another user's

            if error.errno not in (EPERM, EINVAL):
                raise
    posix.fchmod(descriptor, bundle.mode)  # after the owner: a change of owner clears set-id bits


def _unwritable(path: str, error: OSError) -> NvidiaRuntimeError:
    return NvidiaRuntimeError(
        f"cannot write the container's configuration: {os_reason(error)}; it is as it was",
        where=path,
        hint=remedy(error)
        or "the bundle's folder must be writable and have room for a copy of config.json",
    )
