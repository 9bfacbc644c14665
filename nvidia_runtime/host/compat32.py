# SPDX-License-Identifier: Apache-2.0
"""The driver's libraries for 32-bit programs (Steam, Wine, Proton), beside those of the machine.

What a library is for, its file says (ELF): /usr/lib has 64-bit ones on one distribution and 32-bit
ones on another.
"""

from __future__ import annotations

import os

from nvidia_runtime.host import facts, ldcache
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.rootfs import elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.host.driver import Driver

# Of Debian and Ubuntu, Arch, the RPM-based ones, and Debian's alternatives.  The loader's cache
# tells of others.
FOLDERS = (
    "/usr/lib/i386-linux-gnu",
    "/usr/lib32",
    "/usr/lib",
    "/lib/i386-linux-gnu",
    "/usr/lib/i386-linux-gnu/nvidia/current",
)


def libraries(installed: Driver, version: str, others: Iterable[str] = ()) -> list[str]:
    """Find the 32-bit libraries of a version of the driver: host paths with all links resolved.

    ``others`` are patterns of names that end with a version of their own; they count where there
    is a library of the driver's.
    """
    folders = [folder for folder in _folders(installed) if _has_any(installed, folder, version)]
    paths: dict[str, None] = {}
    for folder in folders:
        for place in (folder, f"{folder}/vdpau"):
            for pattern in (f"*.so.{version}", *others):
                names = driver_root.matches(installed.names(place), pattern)
                paths |= dict.fromkeys(installed.resolve(f"{place}/{name}") for name in names)
    return [path for path in paths if path and is_32_bit(path)]


def is_32_bit(path: str) -> bool:
    """Whether a file is a shared library for i386, as far as this user may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if driver_root.is_missing(error) or isinstance(error, PermissionError):
            return False
        raise driver_root.unreadable(path, error) from None
    try:
        library = elf.identify(descriptor)
    finally:
        os.close(descriptor)
    return library is not None and library.flags == elf.I386


def _folders(installed: Driver) -> list[str]:
    """Return the host's folders where they may be, each once, whatever links lead there.

    Some have only the link of libcuda, as Debian's tesla packages do.
    """
    places = list(installed.library_folders)
    if not places:
        inside = [*FOLDERS, *(os.path.dirname(path) for path in ldcache.paths_32(installed.root))]
        places = [driver_root.join(installed.root, folder) for folder in dict.fromkeys(inside)]
    linked = [installed.resolve(f"{place}/{facts.VERSIONED[0]}1") for place in places]
    places += [os.path.dirname(path) for path in linked if path]
    real = {os.path.realpath(installed.source(place) or place): place for place in places[::-1]}
    return [place for place in places if place in real.values()]


def _has_any(installed: Driver, folder: str, version: str) -> bool:
    return bool(driver_root.matches(installed.names(folder), f"lib*.so.{version}"))
