# SPDX-License-Identifier: Apache-2.0
"""Whether the driver's libraries are a set: libcuda among them, all of the loaded version.

The one rule for whatever is generated.  In an update files come and go for minutes, and what is
generated meanwhile would be kept.
"""

from __future__ import annotations

import os

from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.host import driver, facts
from nvidia_runtime.host import root as driver_root
from nvidia_runtime.store import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nvidia_runtime.host.driver import Driver

CUDA = facts.VERSIONED[0]
# Of packages that are updated apart from the driver.
APART = (
    *("libnvidia-nscq", "libnvsdm"),
    *("libnvidia-gtk2", "libnvidia-gtk3", "libnvidia-wayland-client"),
)
# So long after the last change of their folder, in seconds, newer libraries count as left there.
UPDATE = 60.0
MOST_NAMED = 4
GONE = "the driver is being updated, or it was without a restart"
AGAIN = "try again when the update has ended; then reboot, or load the kernel modules anew"


def check(installed: Driver, version: str) -> list[str]:
    """Return warnings about what is missing in the set of a version of the driver.

    Raises `NvidiaRuntimeError` if there is no set: no library of that version, libcuda or
    libnvidia-ml of another version alone, or an update in progress.
    """
    present = {
        prefix: version and driver.main_libraries(installed, prefix, version)
        for prefix in facts.VERSIONED
    }
    if not any(present.values()):
        raise _none(installed, version)
    for prefix, libraries in present.items():
        other = "" if libraries else _other_version(installed, prefix)
        if other:
            raise _mismatch(installed, other, version)
    warnings = []
    if not present[CUDA]:
        warnings.append(f"{installed.root}: has no {CUDA}{version}: {files.NO_CUDA}")
    return warnings + _newer(installed, version)


def lost(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Return the libraries, of those that an older spec mounts, that a new one must not lack.

    Both are host paths.  What is gone without a successor was taken off this machine; libcuda and
    libnvidia-ml are not without the driver.
    """
    present = set(new)
    missing = [path for path in old if path not in present and _stem(path)]
    return [path for path in missing if facts.library_version(path) or _has_successor(path)]


def _has_successor(path: str) -> bool:
    """Whether a library is there in another version alone."""
    folder = os.path.dirname(path)
    return not os.path.exists(path) and _stem(path) in map(_stem, driver_root.names(folder))


def _newer(installed: Driver, version: str) -> list[str]:
    """Return a warning of libraries that are there only for a newer driver than this.

    Raises `NvidiaRuntimeError` if they have just come.
    """
    warnings = []
    own = [(folder, f"{folder}/vdpau") for folder in driver.library_folders(installed, version)]
    folders = [*(folder for pair in own for folder in pair), *driver.x_folders(installed, version)]
    for folder in folders:
        path = driver_root.join(installed.root, folder)
        names = _newer_names(installed.names(path), version)
        if not names:
            continue
        what = f"has {', '.join(names[:MOST_NAMED])} for another driver than {version}"
        if driver_root.is_young(path, UPDATE):
            raise NvidiaRuntimeError(f"{what}: it is being updated", where=path, hint=AGAIN)
        warnings.append(f"{path}: {what}, and none for it: they are left out")
    return warnings


def _newer_names(names: list[str], version: str) -> list[str]:
    versions: dict[str, dict[tuple[int, ...], str]] = {}
    for name in names:
        if stem := _stem(name):
            versions.setdefault(stem, {})[_numbers(name[len(stem) + 4 :])] = name
    loaded = _numbers(version)
    newest = {
        stem: max(present.items()) for stem, present in versions.items() if loaded not in present
    }
    return [
        name for stem, (number, name) in newest.items() if number > loaded and stem not in APART
    ]


def _stem(path: str) -> str:
    """Return the name of a library of the driver without its version, "" for any other file."""
    stem, _, version = path.rpartition("/")[2].partition(".so.")
    is_ours = "nv" in stem or stem.startswith("libcuda")
    return stem if is_ours and files.is_driver_version(version) else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _other_version(installed: Driver, prefix: str) -> str:
    versions = map(facts.library_version, installed.libraries(f"{prefix}*.*"))
    return next(filter(None, versions), "")


def _none(installed: Driver, version: str) -> NvidiaRuntimeError:
    present = driver.version(installed)
    if version and present:
        return _mismatch(installed, present, version)
    of = f" of version {version}" if version else ""
    what = f"has no libcuda.so.VERSION and no libnvidia-ml.so.VERSION{of}"
    hint = "install the driver there, or set its root (nvidia-container-cli.root, --driver-root)"
    return NvidiaRuntimeError(what, where=installed.root, hint=hint)


def _mismatch(installed: Driver, present: str, version: str) -> NvidiaRuntimeError:
    what = f"has the driver's libraries of version {present}, but {version} is loaded"
    hint = "the driver was updated: reboot, or unload and load its kernel modules"
    return NvidiaRuntimeError(what, where=installed.root, hint=hint)
