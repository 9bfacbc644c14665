# SPDX-License-Identifier: Apache-2.0
"""CUDA forward compatibility: whether an image's newer libcuda may stand in for the driver's.

NVIDIA's images carry it in /usr/local/cuda/compat.  Its ELF note says which drivers it works with;
where there is none, a newer major version than the driver's decides.
"""

import posix

from nvidia_runtime import document
from nvidia_runtime.errors import NvidiaRuntimeError
from nvidia_runtime.rootfs import files, resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FOLDER = "/usr/local/cuda/compat"
PREFIX = "libcuda.so."
SECTION, OWNER = b".note.cuda.fwd_compatibility", b"NVIDIA Corporation"
# Names that a hostile image lists are not looked at one by one.
MOST_NAMES = 4096


class Compatible:
    """What was decided: the folder as the container sees it, "" for no folder, and the reason."""

    __slots__ = ("folder", "reason")

    def __init__(self, folder: str, reason: str) -> None:
        self.folder = folder
        self.reason = reason


def decide(root: resolver.Place, driver: str, cuda: str = "", folder: str = FOLDER) -> Compatible:
    """Decide for a container's root; ``driver`` and ``cuda`` are the host's versions, or ""."""
    try:
        place = resolver.walk(root, folder)
    except (OSError, ValueError):
        return Compatible("", f"the image has no {folder}")
    with place:
        try:
            libraries = _libraries(place)
        except OSError:
            return Compatible("", f"{folder} cannot be read")
        return judge(place.path, libraries, driver, cuda)


def judge(folder: str, libraries: list[tuple[str, int]], driver: str, cuda: str = "") -> Compatible:
    """Decide by the files libcuda.so.*.* of a folder: their versions and descriptors.

    These are closed.
    """
    if len(libraries) != 1:
        for _, descriptor in libraries:
            posix.close(descriptor)
        return Compatible("", f"{folder} has {len(libraries)} files {PREFIX}*.*, not one")
    from nvidia_runtime.rootfs import elf  # few images have one

    ((version, descriptor),) = libraries
    try:
        described = elf.note(descriptor, SECTION, OWNER)
    finally:
        posix.close(descriptor)
    is_better, reason = _compare(version, _note(described), driver, cuda)
    return Compatible(folder if is_better else "", reason)


def _libraries(place: resolver.Place) -> list[tuple[str, int]]:
    """Open the regular files libcuda.so.*.*, at most two: with more than one, none counts."""
    libraries: list[tuple[str, int]] = []
    for name in place.names()[:MOST_NAMES]:
        if name.startswith(PREFIX) and "." in name[len(PREFIX) :] and len(libraries) < 2:
            try:
                libraries.append((name[len(PREFIX) :], files.open_regular(place, name)))
            except OSError:
                continue
    return libraries


def _note(data: bytes) -> "dict[str, Any]":
    """Decode the note, {} without one or where it is not as NVIDIA's are."""
    if not data:
        return {}
    try:
        value = document.loads(data, "note of CUDA's compatibility library")
    except NvidiaRuntimeError:
        return {}
    return value if type(value) is dict else {}


def _compare(version: str, note: "dict[str, Any]", driver: str, cuda: str) -> tuple[bool, str]:
    """Say whether the image's library is the better one, and why."""
    theirs, ours = numbers(version), numbers(driver)
    named = f"the image's libcuda {version}"
    if note:
        majors = note.get("Driver")
        if theirs and ours:
            fits = type(majors) is list and ours[0] in majors
            if not fits:
                return False, f"{named} does not work with driver {driver}"
            return theirs > ours, f"{named} against driver {driver}"
        if cuda:
            text = note.get("CUDA Version")
            theirs = numbers(text) if type(text) is str else ()
            return bool(theirs) and theirs > numbers(cuda), f"{named} against CUDA {cuda}"
        return False, f"{named}: no version to compare with"
    if cuda:
        return False, f"{named} does not say its CUDA version"
    if not (theirs and ours):
        return False, f"{named}: no version to compare with"
    return ours[0] < theirs[0], f"{named} against driver {driver}"


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version of one to three parts, () for anything else."""
    parts = version.split(".")
    if len(parts) > 3 or not all(
        part.isascii() and part.isdigit() and len(part) < 10 for part in parts
    ):
        return ()
    result = [int(part) for part in parts]
    return (*result, *[0] * (3 - len(result)))
