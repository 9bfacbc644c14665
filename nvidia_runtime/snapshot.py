# SPDX-License-Identifier: Apache-2.0
"""What config.toml and the CDI specs say, compiled once and read at every create.  Ring: create.

A snapshot is one file of lines: the settings (JSON), the stamps of every file and folder that it
was made from (JSON), then a line for each spec and each device, of which a create decodes only
those that it needs::

    @0<TAB>{"file": "/etc/cdi/nvidia.json", "sha256": ...}<TAB>{edits of the spec}
    nvidia.com/gpu=0<TAB>0<TAB>{edits of the device}

It is used while every stamp is what it was, and only if nobody else could have written it.
"""

import posix

from nvidia_runtime import __version__, document
from nvidia_runtime.errors import NvidiaRuntimeError

FORMAT = 2
SYSTEM_FOLDER = "/run/nvidia-container-runtime"
# One component of a path has at most 255 bytes on Linux.
LONGEST_NAME = 200

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Settings = dict[str, Any]

Stamp = list[int]


class Snapshot:
    """The settings, and the devices of the CDI registry when the specs were compiled too."""

    __slots__ = ("config", "data", "devices_at", "settings", "stamp", "warnings")

    def __init__(self, data: bytes) -> None:
        """Read the first line; ``data`` is the whole file.  Raises on anything malformed."""
        end = data.index(b"\n")
        header = document.loads(data[:end], "snapshot")
        self.data = data
        self.config: str = header["config"]
        self.stamp: Stamp | None = header["stamp"]
        self.settings: Settings = header["settings"]
        self.devices_at = end + 1 if header["devices"] else 0
        self.warnings: list[str] = header["warnings"]
        # A crash of the machine leaves short files, or NULs, which JSON has not.
        rest = len(data) - end - 1
        if header["format"] != [FORMAT, __version__] or header["length"] != rest or b"\0" in data:
            raise ValueError("another format")

    def has_fresh_devices(self) -> bool:
        """Whether the registry was compiled, and every file and folder of it is unchanged."""
        if not self.devices_at:
            return False
        line = self.data[self.devices_at : self.data.index(b"\n", self.devices_at)]
        return are_unchanged(document.loads(line, "snapshot"))

    def line(self, key: str) -> list[bytes] | None:
        """Find the line that begins with ``key``; give its other fields, undecoded."""
        return find_line(self.data, key)


def find_line(data: bytes, key: str) -> list[bytes] | None:
    """Find the line after the first that begins with ``key``; give its other fields."""
    if not key.isascii() or "\t" in key or "\n" in key:
        return None  # no name of CDI's
    wanted = key.encode()
    start = data.find(b"\n" + wanted + b"\t")
    if start < 0:
        return None
    start += len(wanted) + 2
    return data[start : data.index(b"\n", start)].split(b"\t")


def are_unchanged(stamps: "list[list[Any]]") -> bool:
    """Whether every file and folder has its stamp; an entry of a path alone is one that is absent.

    Whatever is compared first changes most often.
    """
    stat = posix.stat
    for entry in stamps:
        try:
            found = stat(entry[0])
        except OSError:
            if len(entry) > 1:
                return False
            continue
        if (
            len(entry) == 1
            or found.st_mtime_ns != entry[4]
            or found.st_ctime_ns != entry[5]
            or found.st_ino != entry[2]
            or found.st_size != entry[3]
            or found.st_dev != entry[1]
        ):
            return False
    return True


def stamp(path: str) -> Stamp | None:
    """Give what changes when a file or folder does: device, inode, size, mtime and ctime in ns."""
    try:
        found = posix.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def environment(name: bytes) -> str:
    """Read a variable of our own environment; unset is empty."""
    value: bytes = posix.environ.get(name, b"")
    return value.decode("utf-8", "surrogateescape")


def config_path() -> str:
    """Give the path of config.toml, which need not exist."""
    return environment(b"NVIDIA_CTK_CONFIG_FILE_PATH") or (
        (environment(b"XDG_CONFIG_HOME") or "/etc") + "/nvidia-container-runtime/config.toml"
    )


def state_folder(make: bool = False) -> str:
    """Give the folder for our state, "" if there is none that only we can write.

    root's is ``/run/nvidia-container-runtime``; a user's, and that of root in a user namespace,
    lies in ``$XDG_RUNTIME_DIR``.  The launcher chooses in the same way.
    """
    folders = [SYSTEM_FOLDER]
    own = environment(b"XDG_RUNTIME_DIR")
    if own[:1] == "/":  # a relative one would lead into the bundle
        folders.append(f"{own}/nvidia-container-runtime")
    for folder in folders:
        if _is_ours(folder) or (make and _make_folder(folder)):
            return folder
    return ""


def _is_ours(folder: str) -> bool:
    try:
        found = posix.lstat(folder)
    except (OSError, ValueError):
        return False
    return (
        found.st_mode & 0o170000 == 0o040000
        and found.st_uid == posix.geteuid()
        and not found.st_mode & 0o022
    )


def _make_folder(folder: str) -> bool:
    try:
        posix.mkdir(folder, 0o755)
        posix.chmod(folder, 0o755)  # whatever the umask
    except (OSError, ValueError):
        return _is_ours(folder)  # somebody may have been faster
    return True


def file_of(folder: str, config: str) -> str:
    """Give the snapshot's path for a config.toml; only an absolute path says which one is meant."""
    name = config.replace("%", "%25").replace("/", "%2F")[-LONGEST_NAME:]
    return f"{folder}/snapshot-{__version__}-{name}" if config[:1] == "/" else ""


def load(config: str) -> Snapshot | None:
    """Read the snapshot of a config.toml; ``None`` if missing, foreign, corrupt or stale.

    The caller still has to ask `Snapshot.has_fresh_devices` before it uses devices.
    """
    folder = state_folder()
    path = folder and file_of(folder, config)
    if not path:
        return None
    try:
        data = read_own(path)
        snapshot = Snapshot(data)
    except (OSError, ValueError, KeyError, TypeError, NvidiaRuntimeError):
        return None
    if snapshot.config != config or snapshot.stamp != stamp(config):
        return None
    return snapshot


def read_own(path: str) -> bytes:
    """Read a file of ours; raises `ValueError` if anybody else could have written it."""
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW)
    try:
        found = posix.fstat(descriptor)
        if found.st_uid != posix.geteuid() or found.st_mode & 0o170022 != 0o100000:
            raise ValueError("not ours alone")
        return posix.read(descriptor, found.st_size)
    finally:
        posix.close(descriptor)
