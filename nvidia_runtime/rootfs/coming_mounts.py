# SPDX-License-Identifier: Apache-2.0
"""What will be mounted in a container's root: seen through these, the root is as it is going to be.

Only looked at: nothing is written through them, and of what is a user's own nothing is opened but
libraries, for their names.
"""

import posix

from nvidia_runtime.rootfs import library_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What is in them is not known, or nothing: file systems in memory, the kernel's, other kinds.
EMPTY = ""
# There are no libraries for the loader in these.
ELSEWHERE = ("/proc/", "/dev/", "/sys/", "/etc/")
# Nor here: the X server loads its modules by their paths.
MODULES = "/xorg/modules/"
_TYPE, _DIRECTORY = 0o170000, 0o040000


class ComingMounts:
    """The sources on the host, "" for nothing, by the paths in the container without links."""

    __slots__ = ("_above", "sources")

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self._above: set[str] = {""}

    def add(self, path: str, source: str) -> None:
        """Let something be mounted; folders that lead to it are made."""
        self.sources[path] = source
        while (path := path.rpartition("/")[0]) not in self._above:
            self._above.add(path)

    def open(self, path: str) -> int | None:
        """Open what will be mounted at a path, by ``O_PATH``; ``None`` where nothing will.

        Raises `OSError` where there is nothing to be seen in it.
        """
        source = self.sources.get(path)
        if source is None:
            return None
        return posix.open(source.encode("utf-8", "surrogateescape"), posix.O_PATH)

    def is_above(self, path: str) -> bool:
        """Whether something will be mounted below a path, which is a folder then."""
        return path in self._above

    def names(self, folder: str) -> "Iterator[str]":
        """Return the names in a folder at which something will be mounted."""
        start = f"{folder.rstrip('/')}/"
        for path in self.sources:
            if path.startswith(start) and "/" not in path[len(start) :]:
                yield path[len(start) :]

    def has(self, folder: str, name: str) -> bool:
        """Whether something will be mounted at a name in a folder."""
        return f"{folder.rstrip('/')}/{name}" in self.sources

    def suspects(self, folders: list[str]) -> list[str]:
        """List the mounts that may change a folder of libraries, but for the driver's own.

        ``folders`` are those of the driver's, whose libraries are known by their mounts.
        """
        return [
            path
            for path, source in self.sources.items()
            if may_change(path, folders) and (not source or is_library(path) or _is_folder(source))
        ]


def may_change(path: str, folders: list[str]) -> bool:
    """Whether what is mounted at a path may bring libraries, other than into ``folders``."""
    if path.rpartition("/")[0] in folders and is_library(path):
        return False  # as most of the driver's
    return not (f"{path}/".startswith(ELSEWHERE) or MODULES in path)


def is_library(path: str) -> bool:
    """Whether ldconfig would look at a file of this path."""
    return library_names.is_library(path.rpartition("/")[2])


def _is_folder(source: str) -> bool:
    try:
        return posix.stat(source.encode("utf-8", "surrogateescape")).st_mode & _TYPE == _DIRECTORY
    except (OSError, ValueError):
        return False
