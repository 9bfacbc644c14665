# SPDX-License-Identifier: Apache-2.0
"""The driver as it is installed below a root: libraries, version, executables, configuration."""

from __future__ import annotations

import os

from nvidia_runtime.host import facts, ldcache
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.oci.lowlevel import DEFAULT_PATH

LIBRARY_FOLDERS = (
    "/",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu/nvidia/current",
    "/lib/aarch64-linux-gnu/nvidia/current",
)
# XDG Base Directory Specification.
DATA_FOLDERS = ("/usr/local/share", "/usr/share")


class Driver:
    """A driver root, and the folders below it where the driver's files are looked for.

    ``path`` and ``data_dirs`` are lists as in PATH and XDG_DATA_DIRS.  ``library_folders`` and
    ``config_folders`` are the host's, and replace all others.  A folder is listed once, when it is
    first needed.
    """

    __slots__ = (
        "_cached",
        "_listings",
        "_resolved",
        "config_folders",
        "executable_folders",
        "library_folders",
        "root",
    )

    def __init__(
        self,
        root: str = "/",
        path: str = "",
        data_dirs: str = "",
        library_folders: tuple[str, ...] = (),
        config_folders: tuple[str, ...] = (),
    ) -> None:
        self.root = root.rstrip("/") or "/"
        self.library_folders = library_folders
        self.executable_folders = (*_folders(path), *DEFAULT_PATH)
        folders = ("/etc", *(_folders(data_dirs) or DATA_FOLDERS))
        self.config_folders = config_folders or tuple(self._places(folders, ""))
        self._listings: list[tuple[str, list[str]]] | None = None
        self._cached: list[str] | None = None
        self._resolved: dict[str, str] = {}

    def libraries(self, pattern: str) -> list[str]:
        """Find libraries by name: host paths with all links resolved, in the folders' order.

        If they are not in the folders, ld.so.cache is read.
        """
        files: dict[str, None] = {}
        for folder, names in self._list_libraries():
            for name in driver_root.matches(names, pattern):
                files[self.resolve(driver_root.join(folder, f"/{name}"))] = None
        if not files and not self.library_folders:
            files = dict.fromkeys(self._search_cache(pattern))
        files.pop("", None)
        return list(files)

    def executable(self, name: str) -> str:
        """Return the host path of the first executable of this name, "" if there is none."""
        for path in self._places(self.executable_folders, name):
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return ""

    def config(self, name: str) -> str:
        """Return the host path of the first configuration file of this name, "" if none."""
        for folder in self.config_folders:
            path = f"{folder.rstrip('/')}/{name}"
            if _is_file(path):
                return path
        return ""

    def file(self, folders: tuple[str, ...], name: str) -> str:
        """Return the host path of a file in the first of the folders that has it, "" if none."""
        for path in self._places(folders, name):
            if _is_file(path):
                return path
        return ""

    def strip(self, path: str) -> str:
        """Return the path in a container of a path on the host."""
        return driver_root.strip(path, self.root)

    def _places(self, folders: tuple[str, ...], name: str) -> list[str]:
        return [
            driver_root.join(self.root, f"{'' if folder == '/' else folder}/{name}")
            for folder in folders
        ]

    def library_places(self) -> list[str]:
        """Return the host's folders where libraries are looked for, present or not."""
        if self.library_folders:
            return list(self.library_folders)
        return [driver_root.join(self.root, folder) for folder in LIBRARY_FOLDERS]

    def _list_libraries(self) -> list[tuple[str, list[str]]]:
        """List what may be libraries, each folder once: /lib64 and the like are often links."""
        if self._listings is None:
            self._listings = []
            seen = set()
            for folder in self.library_places():
                try:
                    status = os.stat(folder)
                except (OSError, ValueError):
                    continue
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    names = [name for name in driver_root.names(folder) if ".so" in name]
                    self._listings.append((folder, names))
        return self._listings

    def _search_cache(self, pattern: str) -> list[str]:
        """Search the cache, which knows a library by its link: libcuda.so.1 for libcuda.so.*.*.

        Their names differ in what follows ``.so``; only links that can match are resolved.
        """
        if self._cached is None:
            self._cached = ldcache.paths(self.root)
        stem = pattern.partition(".so")[0]
        files = []
        for path in self._cached:
            name = os.path.basename(path)
            if not driver_root.is_match(name.partition(".so")[0], stem):
                continue
            file = self.resolve(driver_root.join(self.root, path))
            if any(
                driver_root.is_match(candidate, pattern)
                for candidate in (name, os.path.basename(file))
            ):
                files.append(file)
        return files

    def resolve(self, path: str) -> str:
        """Resolve the links of a library, "" if they lead to no file.

        Its folder's links are resolved once for all libraries there.
        """
        folder, _, name = path.rpartition("/")
        try:
            if folder not in self._resolved:
                self._resolved[folder] = driver_root.resolve(folder or "/", self.root)
            file = f"{self._resolved[folder].rstrip('/')}/{name}"
            if os.path.islink(file):
                file = driver_root.resolve(file, self.root)
        except OSError:
            return ""
        return file if _is_file(file) else ""


def version(driver: Driver) -> str:
    """Return the driver's version by the names of its libraries, "" if it is unknown.

    The first library counts, in the order of folders and names.
    """
    for prefix in facts.VERSIONED:
        for library in driver.libraries(f"{prefix}*.*"):
            if number := facts.library_version(library):
                return number
    return ""


def has_version(driver: Driver, version: str) -> bool:
    """Whether the libraries of a version of the driver are installed."""
    return any(driver.libraries(f"{prefix}{version}") for prefix in facts.VERSIONED)


def library_folders(driver: Driver, version: str) -> tuple[str, ...]:
    """Return the folders, as a container sees them, of the libraries of a version."""
    libraries = driver.libraries(f"lib*.so.{version}")
    return tuple(dict.fromkeys(os.path.dirname(driver.strip(library)) for library in libraries))


def _folders(text: str) -> tuple[str, ...]:
    """Split a list of folders; a relative one has no meaning below a root."""
    return tuple(folder.rstrip("/") or "/" for folder in text.split(":") if folder[:1] == "/")


def _is_file(path: str) -> bool:
    """Whether this is a file of any type but a folder."""
    return os.path.exists(path) and not os.path.isdir(path)
