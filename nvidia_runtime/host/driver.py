# SPDX-License-Identifier: Apache-2.0
"""The driver as it is installed below a root: libraries, version, executables, configuration."""

from __future__ import annotations

import os
import stat

from nvidia_runtime.host import facts, ldcache
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.oci.lowlevel import DEFAULT_PATH
from nvidia_runtime.store import files

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
X_MODULES = ("drivers", "extensions", "updates/drivers", "updates/extensions")
X_FOLDERS = ("/usr/lib/xorg", "/usr/lib64/xorg", "/usr/X11R6/lib", "/usr/X11R6/lib64")
# XDG Base Directory Specification.
DATA_FOLDERS = ("/usr/local/share", "/usr/share")
# Seconds without a change of a folder after which what is in it counts as whole.
YOUNG = 0.3


class Driver:
    """A driver root, and the folders below it where the driver's files are looked for.

    ``path`` and ``data_dirs`` are lists as in PATH and XDG_DATA_DIRS.  ``library_folders`` and
    ``config_folders`` are the host's, and replace all others.  A folder is listed once, when it is
    first needed.
    """

    __slots__ = (
        "_cached",
        "_listings",
        "_names",
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
        self.forget()

    def forget(self) -> None:
        """Forget what was listed: the files may have changed."""
        self._listings: list[tuple[str, list[str]]] | None = None
        self._cached: list[str] | None = None
        self._names: dict[str, list[str]] = {}
        self._resolved: dict[str, str] = {}

    def libraries(self, pattern: str) -> list[str]:
        """Find libraries by name: host paths with all links resolved, in the folders' order.

        If they are not in the folders, ld.so.cache is read.
        """
        paths: dict[str, None] = {}
        for folder, names in self.listings():
            for name in driver_root.matches(names, pattern):
                paths[self.resolve(driver_root.join(folder, f"/{name}"))] = None
        if not paths and not self.library_folders:
            paths = dict.fromkeys(self._search_cache(pattern))
        paths.pop("", None)
        return list(paths)

    def executable(self, name: str) -> str:
        """Return the path of the first executable of this name, "" if there is none.

        It is the host's, below the root, as all that are found; `source` says what it leads to.
        """
        for path in self._places(self.executable_folders, name):
            there = self.source(path)
            if os.path.isfile(there) and os.access(there, os.X_OK):
                return path
        return ""

    def config(self, name: str) -> str:
        """Return the host path of the first configuration file of this name, "" if none."""
        for folder in self.config_folders:
            path = f"{folder.rstrip('/')}/{name}"
            if driver_root.is_file(path, self.root):
                return path
        return ""

    def file(self, folders: tuple[str, ...], name: str) -> str:
        """Return the host path of a file in the first of the folders that has it, "" if none."""
        for path in self._places(folders, name):
            if driver_root.is_file(path, self.root):
                return path
        return ""

    def source(self, path: str) -> str:
        """Return what a path leads to, where the host's kernel finds it."""
        return driver_root.source(path, self.root)

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

    def listings(self) -> list[tuple[str, list[str]]]:
        """List what may be libraries, each folder once: /lib64 and the like are often links.

        Raises `NvidiaRuntimeError` for a folder that is there and cannot be listed.
        """
        if self._listings is None:
            self._listings = self._list(self._names)
        return self._listings

    def names(self, folder: str) -> list[str]:
        """List another of the host's folders, as `root.names` does."""
        return _names(folder, self._names)

    def has_changed(self) -> bool:
        """Whether the driver's libraries are others than those that were listed, or may be soon.

        A package manager that waits for its turn changes nothing for a moment, in the midst of it.
        """
        if self._listings is None:
            return False
        for folder, files_there in self._listings:
            is_young = driver_root.is_young(self.source(folder) or folder, YOUNG)
            if is_young and _versioned([(folder, files_there)]):
                return True
        names: dict[str, list[str]] = {}
        now = [*self._list(names), *((folder, _names(folder, names)) for folder in self._names)]
        before = [*self._listings, *self._names.items()]
        return now != before and _versioned(now) != _versioned(before)

    def _list(self, names: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
        """List the libraries; ``names`` are what was listed, and get what is listed now."""
        listings = []
        seen = set()
        for folder in self.library_places():
            there = self.source(folder) or folder
            try:
                status = os.stat(there)
            except ValueError:  # a NUL
                continue
            except OSError as error:
                if driver_root.is_missing(error):
                    continue
                raise driver_root.unreadable(folder, error, "listed") from None
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            # Some systems let users enter / but not list it; no package puts libraries there.
            is_closed = there == "/" and not os.access(there, os.R_OK)
            files_there = [] if is_closed else _names(there, names)
            listings.append((folder, [name for name in files_there if ".so" in name]))
        return listings

    def _search_cache(self, pattern: str) -> list[str]:
        """Search the cache, which knows a library by its link: libcuda.so.1 for libcuda.so.*.*.

        Their names differ in what follows ``.so``; only links that can match are resolved.
        """
        if self._cached is None:
            self._cached = ldcache.paths(self.root)
        stem = pattern.partition(".so")[0]
        paths = []
        for path in self._cached:
            name = os.path.basename(path)
            if not driver_root.is_match(name.partition(".so")[0], stem):
                continue
            file = self.resolve(driver_root.join(self.root, path))
            if any(
                driver_root.is_match(candidate, pattern)
                for candidate in (name, os.path.basename(file))
            ):
                paths.append(file)
        return paths

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
        except OSError as error:
            if driver_root.is_missing(error):
                return ""
            raise driver_root.unreadable(path, error) from None
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


def main_libraries(driver: Driver, prefix: str, version: str) -> list[str]:
    """Return the host paths of libcuda or libnvidia-ml of a version.

    They may lie where no other place leads to but the link that programs load.
    """
    file = f"{prefix}{version}"
    linked = [path for path in driver.libraries(f"{prefix}1") if os.path.basename(path) == file]
    return list(dict.fromkeys([*driver.libraries(file), *linked]))


def library_folders(driver: Driver, version: str) -> tuple[str, ...]:
    """Return the folders, as a container sees them, of the libraries of a version.

    Those of libcuda and libnvidia-ml count, wherever other libraries are.
    """
    libraries = driver.libraries(f"lib*.so.{version}")
    for prefix in facts.VERSIONED:
        libraries += main_libraries(driver, prefix, version)
    return tuple(dict.fromkeys(os.path.dirname(driver.strip(library)) for library in libraries))


def x_folders(driver: Driver, version: str) -> tuple[str, ...]:
    """Return the folders, as a container sees them, of the X.org modules of a version."""
    folders: list[str] = []
    for folder in library_folders(driver, version):
        folders.append(f"{folder}/nvidia/xorg")
        folders += [f"{folder}/xorg/modules/{module}" for module in X_MODULES]
    folders += [f"{folder}/modules/{module}" for folder in X_FOLDERS for module in X_MODULES]
    return tuple(folders)


def _names(folder: str, names: dict[str, list[str]]) -> list[str]:
    """List a folder once: the driver's has thousands of files, on an overlay 3 ms."""
    if folder not in names:
        names[folder] = driver_root.names(folder)
    return names[folder]


def _versioned(listings: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """Return the libraries whose names end with the version of a driver, with their folders."""
    return [
        (folder, name)
        for folder, names in listings
        for name in names
        if ".so." in name and files.is_driver_version(name.partition(".so.")[2])
    ]


def _folders(text: str) -> tuple[str, ...]:
    """Split a list of folders; a relative one has no meaning below a root."""
    return tuple(folder.rstrip("/") or "/" for folder in text.split(":") if folder[:1] == "/")


def _is_file(path: str) -> bool:
    """Whether this is a file of any type but a folder."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
